//! The page of the options of tasks and calls, made from their table.

use apium_options::option::{OPTIONS, Setter, TaskOption};

const INTRODUCTION: &str = "# Options of tasks and calls

Made by `cargo xtask docs` from `crates/apium-options/src/table.rs`. The names are Celery's.

An option may be given at several places. The first of these that gives it counts:

1. the call: a method of `Call`, `Signature`, `Batch`, `Group` or `Join`, as in `add::delay(2, 2).priority(9)`;
2. `task_annotations` in the settings, under the name of the task;
3. `task_annotations` under `\"*\"`;
4. the attribute, as in `#[task(priority = 9)]`;
5. `task_routes` in the settings, or a route of the app;
6. the setting of the whole app ([SETTINGS.md](SETTINGS.md));
7. the default.

The column \"given by\" says which of these an option has.
";

const OF_TASKS: &str = "
## Options of a task

What the attribute `#[task]` takes. `extern_task!` takes only those that are marked with a star: the caller decides them.
The others belong to the program that has the body of the task.

| option | value | given by | default | meaning |
|---|---|---|---|---|
";

const OF_CALLS: &str = "
## Options of a call

What a call and a signature take. A signature has an option under its name. The column \"on the wire\" says where a
message has it. Options without a method are set by workflows, or come in signatures of other programs.

| option | method | given by | on the wire | default | meaning |
|---|---|---|---|---|---|
";

const OF_RETRIES: &str = "
## Options of a retry

The options that `ctx.retry()` may change for the next run. An option that it does not change stays as it is in this
run. Beside these there are `countdown`, `eta`, `backoff`, `max_retries`, `no_limit`, `cause`, `args`, `kwarg` and
`header`.

| option | method |
|---|---|
";

/// The page.
pub(crate) fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str(OF_TASKS);
    OPTIONS.iter().filter_map(of_task).for_each(|row| page.push_str(&row));
    page.push_str(OF_CALLS);
    OPTIONS.iter().filter_map(of_call).for_each(|row| page.push_str(&row));
    page.push_str(OF_RETRIES);
    for option in OPTIONS {
        if let Some(setter) = option.retry {
            page.push_str(&format!("| `{}` | {} |\n", option.name, written(&setter)));
        }
    }
    page
}

fn of_task(option: &TaskOption) -> Option<String> {
    let attribute = option.attribute?;
    let name = match attribute.inside {
        Some((list, name)) => format!("{list}({name})"),
        None => option.name.to_owned(),
    };
    let star = if option.callers_decide { " *" } else { "" };
    let (value, places) = (attribute.kind.words(), places(option));
    Some(format!("| `{name}`{star} | {value} | {places} | {} | {} |\n", option.default, option.doc))
}

fn of_call(option: &TaskOption) -> Option<String> {
    let mut methods: Vec<String> = option.setters.iter().map(written).collect();
    methods.extend(option.methods.map(str::to_owned));
    let (methods, places) = (methods.join(", "), places(option));
    let wire = option.wire.unwrap_or("not sent");
    option.call.then(|| {
        format!("| `{}` | {methods} | {places} | {wire} | {} | {} |\n", option.name, option.default, option.doc)
    })
}

/// A method with the type of its argument, as rustfmt would write it.
fn written(setter: &Setter) -> String {
    format!("`{}({})`", setter.name, setter.argument.replace(" < ", "<").replace(" >", ">"))
}

/// The places that give an option, the first that counts first.
fn places(option: &TaskOption) -> String {
    let has = |there: bool, place: &str| there.then(|| place.to_owned());
    let by_methods = !option.setters.is_empty() || option.methods.is_some();
    let places = [
        has(by_methods, "call"),
        has(option.annotation, "annotation"),
        has(option.attribute.is_some(), "attribute"),
        has(option.route, "route"),
        option.setting.map(|setting| format!("`{setting}`")),
    ];
    places.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_names_every_place_in_the_order_in_which_they_count() {
        let soft = apium_options::option::find("soft_time_limit").unwrap();
        assert_eq!(places(soft), "call, annotation, attribute, route, `task_soft_time_limit`");
        assert!(of_task(soft).unwrap().starts_with("| `soft_time_limit` * | "));
        assert!(of_call(soft).unwrap().contains("| `soft_time_limit(Duration)` |"));
    }

    #[test]
    fn the_page_has_every_option() {
        let page = page();
        for option in OPTIONS {
            let is_in_a_list = option.attribute.is_some_and(|attribute| attribute.inside.is_some());
            assert!(is_in_a_list || page.contains(&format!("| `{}`", option.name)), "{} is missing", option.name);
        }
        assert!(page.contains("| `retry_kwargs(countdown)` | ") && !page.contains("retry_kwargs_countdown"));
    }
}
