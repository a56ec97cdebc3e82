//! The rows of the table as data, for the attribute's parser and for the reference page.

use crate::kind::ValueKind;

/// One option: a row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskOption {
    /// Its name: Celery's where Celery has it.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// How `#[task]` sets it; `None` if it cannot.
    pub attribute: Option<Attribute>,
    /// Whether it is a field of `TaskOptions`. The other options of the attribute are a part of the task's definition.
    pub declared: bool,
    /// Whether the caller uses it: calls take it from their task, and `extern_task!` may set it.
    pub callers_decide: bool,
    /// Whether `task_annotations` may set it.
    pub annotation: bool,
    /// The setting for every task or call that does not set it.
    pub setting: Option<&'static str>,
    /// Whether it is an option of calls.
    pub call: bool,
    /// Whether `task_routes` may set it.
    pub route: bool,
    /// How messages carry it; `None` if they do not.
    pub wire: Option<&'static str>,
    /// The methods of calls and signatures that set it.
    pub setters: &'static [Setter],
    /// Methods that set it and are not made from the table, in Markdown.
    pub methods: Option<&'static str>,
    /// The method of a retry that sets it.
    pub retry: Option<Setter>,
    /// Its default, in words.
    pub default: &'static str,
}

/// How `#[task]` sets an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute {
    /// The kind of its value.
    pub kind: ValueKind,
    /// The list in which it is written, and its name there: `retry_kwargs(max_retries = …)`.
    pub inside: Option<(&'static str, &'static str)>,
}

/// A method that sets an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setter {
    /// Its name.
    pub name: &'static str,
    /// The type of its argument.
    pub argument: &'static str,
}

macro_rules! rows {
    ({ $($row:tt)* }) => {
        /// All options, in the order of the table.
        pub static OPTIONS: &[TaskOption] = &[$($row)*];
    };
}
crate::options! { rows => rows }

/// The option of a name.
pub fn find(name: &str) -> Option<&'static TaskOption> {
    OPTIONS.iter().find(|option| option.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{OPTIONS, find};
    use crate::kind::ValueKind;

    #[test]
    fn a_row_has_everything_that_the_table_says_about_it() {
        let soft = find("soft_time_limit").unwrap();
        assert_eq!(soft.attribute.map(|attribute| (attribute.kind, attribute.inside)), Some((ValueKind::Time, None)));
        assert!(soft.declared && soft.callers_decide && soft.annotation && soft.call && soft.route);
        assert_eq!(soft.setting, Some("task_soft_time_limit"));
        assert_eq!(soft.setters.iter().map(|setter| setter.name).collect::<Vec<_>>(), ["soft_time_limit"]);
        assert_eq!(soft.retry.map(|setter| setter.argument), Some("Duration"));
        let count = find("retry_kwargs_max_retries").unwrap();
        assert_eq!(count.attribute.and_then(|attribute| attribute.inside), Some(("retry_kwargs", "max_retries")));
        let hook = find("on_retry").unwrap();
        assert!(!hook.declared && !hook.call && hook.setting.is_none());
    }

    #[test]
    fn every_name_is_unique() {
        let names: BTreeSet<_> = OPTIONS.iter().map(|option| option.name).collect();
        assert_eq!(names.len(), OPTIONS.len());
    }

    #[test]
    fn every_option_can_be_set_or_is_read_from_messages() {
        let by_hand = |name: &str| OPTIONS.iter().any(|option| option.name == name && option.methods.is_some());
        for option in OPTIONS {
            let settable = option.attribute.is_some() || !option.setters.is_empty() || by_hand(option.name);
            assert!(settable || option.wire.is_some(), "nothing sets {}", option.name);
            assert!(option.doc.ends_with('.'), "{}: {}", option.name, option.doc);
        }
    }
}
