//! `task_annotations`: options of tasks changed by the settings, for one task or for all (`"*"`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::config::read::{FromValue, InvalidValue, rate_text};
use crate::config::value::Value;
use crate::options::task_options::TaskOptions;

/// Options of tasks by name; `"*"` stands for every task.
#[derive(Debug, Clone, Default)]
pub struct Annotations(BTreeMap<String, TaskOptions>);

impl Annotations {
    /// What applies to a task: its own entry laid over that of `"*"`.
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

const KNOWN: &[&str] = &[
    "acks_late",
    "acks_on_failure",
    "acks_on_timeout",
    "reject_on_worker_lost",
    "track_started",
    "ignore_result",
    "store_errors_even_if_ignored",
    "serializer",
    "compression",
    "rate_limit",
    "time_limit",
    "soft_time_limit",
    "expires",
    "priority",
    "queue",
    "max_retries",
    "default_retry_delay",
    "retry_backoff_max",
    "retry_jitter",
    "resultrepr_maxsize",
    "trail",
];

fn set(options: &mut TaskOptions, name: &str, value: &Value) -> Result<(), InvalidValue> {
    fn text(value: &Value) -> Result<Option<Cow<'static, str>>, InvalidValue> {
        Ok(Some(Cow::Owned(String::from_value(value)?)))
    }
    match name {
        "acks_late" => options.acks_late = Some(bool::from_value(value)?),
        "acks_on_failure" => options.acks_on_failure = Some(bool::from_value(value)?),
        "acks_on_timeout" => options.acks_on_timeout = Some(bool::from_value(value)?),
        "reject_on_worker_lost" => options.reject_on_worker_lost = Some(bool::from_value(value)?),
        "track_started" => options.track_started = Some(bool::from_value(value)?),
        "ignore_result" => options.ignore_result = Some(bool::from_value(value)?),
        "store_errors_even_if_ignored" => options.store_errors_even_if_ignored = Some(bool::from_value(value)?),
        "serializer" => options.serializer = text(value)?,
        "compression" => options.compression = text(value)?,
        "rate_limit" => options.rate_limit = Some(Cow::Owned(rate_text(value)?)),
        "time_limit" => options.time_limit = Some(FromValue::from_value(value)?),
        "soft_time_limit" => options.soft_time_limit = Some(FromValue::from_value(value)?),
        "expires" => options.expires = Some(FromValue::from_value(value)?),
        "priority" => options.priority = Some(u8::from_value(value)?),
        "queue" => options.queue = text(value)?,
        "max_retries" => options.max_retries = Some(Option::from_value(value)?),
        "default_retry_delay" => options.default_retry_delay = Some(FromValue::from_value(value)?),
        "retry_backoff_max" => options.retry_backoff_max = Some(FromValue::from_value(value)?),
        "retry_jitter" => options.retry_jitter = Some(bool::from_value(value)?),
        "resultrepr_maxsize" => options.resultrepr_maxsize = Some(usize::from_value(value)?),
        "trail" => options.trail = Some(bool::from_value(value)?),
        _ => return Err(InvalidValue { path: String::new(), ..InvalidValue::unknown_entry(name, KNOWN) }),
    }
    Ok(())
}

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
