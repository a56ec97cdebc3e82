//! The causes of errors: an error prints its own context and leaves its cause to `source`, so that a chain of errors is
//! printed once.

use crate::tidy::finding::Finding;
use crate::tidy::source::rust::Source;
use crate::tidy::source::scan::{closing, line_of, name_at, places};

/// What an error is called where it is a variable or a field.
const NAMES: &[&str] = &["error", "err", "e", "cause", "source"];

/// Checks what a crate ships.
pub(crate) fn check(source: &Source) -> Vec<Finding> {
    if !source.path().starts_with("crates/") {
        return Vec::new();
    }
    let mut found: Vec<(usize, &str)> = Vec::new();
    found.extend(logged(source).map(|at| (at, "an error in a log: write `error = %with_causes(&error)`")));
    found.extend(
        displays(source).map(|at| (at, "`Display` prints a cause: print the context, `source` gives the cause")),
    );
    found.extend(
        contexts(source).map(|at| (at, "the context of an error prints its cause: write `.with_source(error)`")),
    );
    found.sort_unstable();
    found.into_iter().map(|(at, text)| Finding::at(source.path(), line_of(source.code(), at), text)).collect()
}

/// Errors that are logged by their `Display` alone: `%error`. A remainder is written with blanks.
fn logged<'a>(source: &'a Source) -> impl Iterator<Item = usize> + use<'a> {
    let code = source.shipped();
    code.match_indices('%').map(|(at, _)| at).filter(move |&at| {
        let name = name_at(&code[at + 1..]);
        let end = at + 1 + name.len();
        code[at + 1..].starts_with(name) && NAMES.contains(&name) && code[end..].trim_start().starts_with([',', ')'])
    })
}

/// Causes that an implementation of `Display` prints.
fn displays<'a>(source: &'a Source) -> impl Iterator<Item = usize> + use<'a> {
    let code = source.shipped();
    let blocks = code.match_indices("Display for ").filter_map(|(at, _)| {
        let open = at + code[at..].find('{')?;
        Some((open, closing(code, open)?))
    });
    blocks.flat_map(move |(open, end)| {
        let fields = ["self.source", "self.cause"].into_iter().flat_map(move |field| places(&code[open..end], field));
        let shown = shown_names(&source.texts()[open..end], "").collect::<Vec<_>>();
        fields.chain(shown).map(move |at| open + at)
    })
}

/// Contexts with a cause in them: `Error::new(kind, format!("read it: {error}"))`.
fn contexts<'a>(source: &'a Source) -> impl Iterator<Item = usize> + use<'a> {
    let code = source.shipped();
    let calls = places(code, "Error::new").filter_map(|at| {
        let open = at + "Error::new".len();
        code[open..].starts_with('(').then_some(())?;
        Some((open, closing(code, open)?))
    });
    calls.flat_map(move |(open, end)| {
        shown_names(&source.texts()[open..end], ": ").map(|at| open + at).collect::<Vec<_>>()
    })
}

/// The places in `texts` where an error is shown after `before`.
fn shown_names<'t>(texts: &'t str, before: &'t str) -> impl Iterator<Item = usize> + 't {
    texts.match_indices('{').map(|(at, _)| at).filter(move |&at| {
        let name = name_at(&texts[at + 1..]);
        NAMES.contains(&name) && texts[..at].ends_with(before)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::File;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        check(&Source::new(&file)).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_logged_error_without_its_causes_is_found() {
        let log = "fn f() {\n warn!(%error, \"no\");\n warn!(id, reason = %err, \"no\");\n let rest = a % e;\n}";
        assert_eq!(lines("crates/a/src/a.rs", log), [2, 3]);
        assert!(lines("crates/a/src/a.rs", "fn f() { warn!(error = %with_causes(&error), \"no\") }").is_empty());
        assert!(lines("crates/a/tests/it/a.rs", log).is_empty() && lines("xtask/src/a.rs", log).is_empty());
    }

    #[test]
    fn a_display_that_prints_a_cause_is_found() {
        let with = "impl fmt::Display for Error {\n fn fmt() { write!(f, \"{}: {source}\", self.text) }\n}";
        assert_eq!(lines("crates/a/src/a.rs", with), [2]);
        let field = "impl Display for Error {\n fn fmt() {\n  self.source.fmt(f)\n } }\nfn source() { &self.source }";
        assert_eq!(lines("crates/a/src/a.rs", field), [3]);
        let without =
            "impl fmt::Display for Error { fn fmt() { f.write_str(&self.context) } }\nfn f() { g(\"{error}\") }";
        assert!(lines("crates/a/src/a.rs", without).is_empty());
    }

    #[test]
    fn a_context_that_holds_its_cause_is_found() {
        let with = "fn f() {\n Error::new(kind, format!(\"read {path}: {error}\"))\n}";
        assert_eq!(lines("crates/a/src/a.rs", with), [2]);
        for free in [
            "fn f() { Error::new(kind, format!(\"read {path}: {why}\")).with_source(error) }",
            "fn f() { Error::new(error.kind(), format!(\"{error:#}\")) }",
            "fn f() { CommandError::new(code, format!(\"read it: {error}\")) }",
        ] {
            assert!(lines("crates/a/src/a.rs", free).is_empty(), "{free}");
        }
    }
}
