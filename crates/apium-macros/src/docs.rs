//! Tables of options for the docs of the attributes, made from the table in `apium-options`.

/// An option as it is written in the attribute: `queue`, or `retry_kwargs(max_retries)`.
macro_rules! written {
    ($name:ident) => {
        stringify!($name)
    };
    ($name:ident in $list:ident as $key:ident) => {
        concat!(stringify!($list), "(", stringify!($key), ")")
    };
}

/// The table of options in Markdown.
macro_rules! option_table {
    ({ $($name:ident $kind:ident $(in $list:ident as $key:ident)? $doc:literal $default:literal;)+ }) => {
        concat!(
            "| option | what it says | default |\n|---|---|---|\n",
            $("| `", $crate::docs::written!($name $(in $list as $key)?), "` | ", $doc, " | ", $default, " |\n"),+
        )
    };
}

pub(crate) use {option_table, written};
