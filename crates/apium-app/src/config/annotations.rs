//! `task_annotations`: options of tasks changed by the settings, for one task or for all (`"*"`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::read::{FromValue, InvalidValue, rate_text};
use crate::config::value::Value;
use crate::options::rate_limit::RateLimit;
use crate::options::task_options::TaskOptions;

/// Options of tasks by name; `"*"` stands for every task.
#[derive(Debug, Clone, Default)]
pub struct Annotations(BTreeMap<String, TaskOptions>);

impl Annotations {
    /// The options of a task: those of its own entry, and of `"*"` where its own has none.
    pub fn of(&self, task: &str) -> TaskOptions {
        ["*", task]
            .into_iter()
            .filter_map(|name| self.0.get(name))
            .cloned()
            .fold(TaskOptions::NEW, TaskOptions::overlay)
    }

    /// The names that are annotated, without `"*"`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str).filter(|name| *name != "*")
    }
}

/// A rate limit as a task declares it, checked.
struct RateText(String);

impl FromValue for RateText {
    const KIND: &'static str = RateLimit::KIND;

    fn from_value(value: &Value) -> Result<Self, InvalidValue> {
        rate_text(value).map(Self)
    }
}

impl From<RateText> for Cow<'static, str> {
    fn from(RateText(text): RateText) -> Self {
        text.into()
    }
}

macro_rules! annotations {
    ({ $($name:ident ($type:ty);)+ }) => {
        const KNOWN: &[&str] = &[$(stringify!($name)),+];

        fn set(options: &mut TaskOptions, name: &str, value: &Value) -> Result<(), InvalidValue> {
            match name {
                $( stringify!($name) => options.$name = Some(<$type>::from_value(value)?.into()), )+
                _ => return Err(InvalidValue { path: String::new(), ..InvalidValue::unknown_entry(name, KNOWN) }),
            }
            Ok(())
        }
    };
}
apium_options::options! { annotation => annotations }

impl FromValue for Annotations {
    const KIND: &'static str = "tables of task options by task name, \"*\" for all tasks";

    fn from_value(value: &Value) -> Result<Self, InvalidValue> {
        let Value::Table(tasks) = value else { return Err(InvalidValue::new(value, Self::KIND)) };
        let mut all = BTreeMap::new();
        for (task, entries) in tasks {
            let Value::Table(entries) = entries else { return Err(InvalidValue::new(entries, "a table").inside(task)) };
            let mut options = TaskOptions::NEW;
            for (name, value) in entries {
                set(&mut options, name, value).map_err(|wrong| wrong.inside(name).inside(task))?;
            }
            all.insert(task.clone(), options);
        }
        Ok(Self(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(task: &str, name: &str, value: Value) -> Value {
        Value::Table(vec![(task.into(), Value::Table(vec![(name.into(), value)]))])
    }

    #[test]
    fn the_tasks_own_name_comes_before_the_star() {
        let mut all = table("*", "priority", Value::Int(1));
        if let (Value::Table(all), Value::Table(own)) = (&mut all, table("mail", "priority", Value::Int(9))) {
            all.extend(own);
        }
        let annotations = Annotations::from_value(&all).unwrap();
        assert_eq!((annotations.of("mail").priority, annotations.of("other").priority), (Some(9), Some(1)));
        assert_eq!(annotations.names().collect::<Vec<_>>(), ["mail"]);
    }

    #[test]
    fn a_wrong_rate_names_task_and_option() {
        let wrong = Annotations::from_value(&table("mail", "rate_limit", "10/x".into())).unwrap_err();
        assert_eq!(wrong.path, "mail.rate_limit");
        assert!(wrong.allowed.contains("\"100/m\""));
    }
}
