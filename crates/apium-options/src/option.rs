//! The rows of the table as data: for the parser of the attribute, which knows no types, and for the reference page.

use crate::kind::ValueKind;

/// One option: a row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskOption {
    /// Its name: Celery's where Celery has it.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// How `#[task]` gives it, where it can.
    pub attribute: Option<Attribute>,
    /// Whether the attribute's value is an option of the task, rather than a part of its definition.
    pub declared: bool,
    /// Whether it is the caller who decides: `extern_task!` may give it, and calls take it from their task.
    pub callers_decide: bool,
    /// Whether `task_annotations` may give it.
    pub annotation: bool,
    /// The setting that gives it to every task or call that has none.
    pub setting: Option<&'static str>,
    /// Whether a call has it.
    pub call: bool,
    /// Whether `task_routes` may give it.
    pub route: bool,
    /// How it travels, where it does.
    pub wire: Option<&'static str>,
    /// The methods of calls and signatures that give it.
    pub setters: &'static [Setter],
    /// The methods that are written by hand, in Markdown.
    pub methods: Option<&'static str>,
    /// The method of a retry that gives it.
    pub retry: Option<Setter>,
    /// What it is where nobody gives it, in words.
    pub default: &'static str,
}

/// How `#[task]` gives an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute {
    /// What it takes.
    pub kind: ValueKind,
    /// The list in which it stands and its name there: `retry_kwargs(max_retries = …)`.
    pub inside: Option<(&'static str, &'static str)>,
}

/// A method that gives an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setter {
    /// Its name.
    pub name: &'static str,
    /// The type of its argument.
    pub argument: &'static str,
}

macro_rules! rows {
    ({ $($row:tt)* }) => {
        /// Every option there is, in the order of the table.
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
    fn a_row_has_all_that_the_table_says_of_it() {
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
    fn no_name_stands_twice() {
        let names: BTreeSet<_> = OPTIONS.iter().map(|option| option.name).collect();
        assert_eq!(names.len(), OPTIONS.len());
    }

    #[test]
    fn every_option_can_be_given_somewhere_or_is_set_by_workflows() {
        let by_hand = |name: &str| OPTIONS.iter().any(|option| option.name == name && option.methods.is_some());
        for option in OPTIONS {
            let given = option.attribute.is_some() || !option.setters.is_empty() || by_hand(option.name);
            assert!(given || option.wire.is_some(), "nobody can give {}", option.name);
            assert!(option.doc.ends_with('.'), "{}: {}", option.name, option.doc);
        }
    }
}
