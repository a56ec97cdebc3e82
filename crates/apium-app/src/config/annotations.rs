//! `task_annotations`: options of tasks changed by the settings, for one task or for all (`"*"`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::read::{FromValue, InvalidValue, rate_text};
use crate::config::value::Value;
use crate::options::priority::Priority;
use crate::options::rate_limit::RateLimit;
use crate::options::task_options::{Backoff, Isolation, TaskOptions};

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

impl FromValue for Backoff {
    const KIND: &'static str = "true, false or a whole number of seconds, the factor";

    fn from_value(value: &Value) -> Result<Self, InvalidValue> {
        match value {
            Value::Bool(true) => Ok(Self::Exponential(1)),
            Value::Bool(false) | Value::Int(0) => Ok(Self::Off),
            Value::Int(_) => u32::from_value(value).map(Self::Exponential),
            _ => Err(InvalidValue::new(value, Self::KIND)),
        }
        .map_err(|wrong| InvalidValue { allowed: Self::KIND.to_owned(), ..wrong })
    }
}

impl FromValue for Isolation {
    const KIND: &'static str = "\"process\" or \"none\"";

    fn from_value(value: &Value) -> Result<Self, InvalidValue> {
        let read = if let Value::Text(word) = value { Self::of_word(word) } else { None };
        read.ok_or_else(|| InvalidValue::new(value, Self::KIND))
    }
}

/// The options that name code: error types, hooks, and the task itself. Settings cannot.
const ONLY_IN_CODE: &[&str] = &[
    "name",
    "namespace",
    "aliases",
    "autoretry_for",
    "dont_autoretry_for",
    "throws",
    "before_start",
    "on_success",
    "on_failure",
    "on_retry",
    "on_replace",
    "after_return",
];

/// The option with this list of options, as in Celery: `retry_kwargs = { max_retries = 5 }`.
const RETRY_KWARGS: &str = "retry_kwargs";

macro_rules! annotations {
    ({ $($name:ident ($type:ty);)+ }) => {
        const KNOWN: &[&str] = &[$(stringify!($name)),+];

        fn set(options: &mut TaskOptions, name: &str, value: &Value) -> Result<(), InvalidValue> {
            match name {
                $( stringify!($name) => options.$name = Some(<$type>::from_value(value)?.into()), )+
                _ if ONLY_IN_CODE.contains(&name) => {
                    return Err(InvalidValue::because("it names code, so only the attribute #[task] can set it"));
                }
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
                let result = match value {
                    Value::Table(inner) if name == RETRY_KWARGS => inner.iter().try_for_each(|(key, value)| {
                        let option = format!("{RETRY_KWARGS}_{key}");
                        set(&mut options, &option, value).map_err(|wrong| wrong.inside(key))
                    }),
                    _ => set(&mut options, name, value),
                };
                result.map_err(|wrong| wrong.inside(name).inside(task))?;
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
        assert_eq!(
            (annotations.of("mail").priority, annotations.of("other").priority),
            (Some(9.into()), Some(1.into()))
        );
        assert_eq!(annotations.names().collect::<Vec<_>>(), ["mail"]);
    }

    #[test]
    fn every_option_that_names_no_code_can_be_annotated() {
        let backoff = |value| Annotations::from_value(&table("mail", "retry_backoff", value)).unwrap().of("mail");
        assert_eq!(backoff(Value::Bool(true)).retry_backoff, Some(Backoff::Exponential(1)));
        assert_eq!(backoff(Value::Int(5)).retry_backoff, Some(Backoff::Exponential(5)));
        assert_eq!(backoff(Value::Bool(false)).retry_backoff, Some(Backoff::Off));
        let kwargs = Value::Table(vec![("max_retries".into(), Value::Int(7)), ("countdown".into(), Value::Int(2))]);
        let options = Annotations::from_value(&table("mail", "retry_kwargs", kwargs)).unwrap().of("mail");
        assert_eq!(options.retry_kwargs_max_retries, Some(Some(7)));
        assert_eq!(options.retry_kwargs_countdown, Some(Duration::from_secs(2)));
        let options = Annotations::from_value(&table("mail", "backend", "memory://".into())).unwrap().of("mail");
        assert_eq!(options.backend.as_deref(), Some("memory://"));
        // Whatever the attribute takes is one or the other.
        for option in apium_options::option::OPTIONS.iter().filter(|option| option.attribute.is_some()) {
            assert!(option.annotation != ONLY_IN_CODE.contains(&option.name), "{}", option.name);
        }
    }

    #[test]
    fn what_cannot_be_annotated_says_why() {
        let wrong = |name: &str, value: Value| Annotations::from_value(&table("mail", name, value)).unwrap_err();
        let of_code = wrong("autoretry_for", "ValueError".into());
        assert_eq!(of_code.path, "mail.autoretry_for");
        assert!(of_code.instead.is_some_and(|text| text.contains("#[task]")));
        assert!(wrong("retry_bakoff", Value::Bool(true)).allowed.contains("did you mean \"retry_backoff\"?"));
        for value in [Value::Int(-1), Value::Float(1.5), "fast".into()] {
            assert_eq!(wrong("retry_backoff", value).allowed, Backoff::KIND);
        }
        let inner = wrong("retry_kwargs", Value::Table(vec![("countdown".into(), "soon".into())]));
        assert_eq!(inner.path, "mail.retry_kwargs.countdown");
    }

    #[test]
    fn a_wrong_rate_names_task_and_option() {
        let wrong = Annotations::from_value(&table("mail", "rate_limit", "10/x".into())).unwrap_err();
        assert_eq!(wrong.path, "mail.rate_limit");
        assert!(wrong.allowed.contains("\"100/m\""));
    }
}
