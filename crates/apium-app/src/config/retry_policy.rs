//! How publishing is tried again when the broker cannot be reached (Celery: `task_publish_retry_policy`,
//! `retry_policy=`).

use std::time::Duration;

use crate::config::read::{FromValue, InvalidValue};
use crate::config::value::Value;

/// How publishing is tried again when the broker cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// How many times after the first try; `None` is without limit (default 3).
    pub max_retries: Option<u32>,
    /// Wait before the first retry (default 0).
    pub interval_start: Duration,
    /// Added to the wait at each retry (default 0.2 s).
    pub interval_step: Duration,
    /// The longest wait (default 0.2 s; Celery 5.7: 1 s).
    pub interval_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::publish()
    }
}

impl RetryPolicy {
    /// The default policy: three retries, at once, after 0.2 s and after 0.2 s.
    pub const fn publish() -> Self {
        Self {
            max_retries: Some(3),
            interval_start: Duration::ZERO,
            interval_step: Duration::from_millis(200),
            interval_max: Duration::from_millis(200),
        }
    }

    /// With this many retries.
    #[must_use]
    pub const fn max_retries(mut self, retries: u32) -> Self {
        self.max_retries = Some(retries);
        self
    }

    /// Without a limit of retries.
    #[must_use]
    pub const fn forever(mut self) -> Self {
        self.max_retries = None;
        self
    }

    /// With this wait before the first retry.
    #[must_use]
    pub const fn interval_start(mut self, wait: Duration) -> Self {
        self.interval_start = wait;
        self
    }

    /// With this added to the wait at each retry.
    #[must_use]
    pub const fn interval_step(mut self, step: Duration) -> Self {
        self.interval_step = step;
        self
    }

    /// With this as the longest wait.
    #[must_use]
    pub const fn interval_max(mut self, wait: Duration) -> Self {
        self.interval_max = wait;
        self
    }

    /// The wait before retry number `retry` (from 0); `None` when there is no such retry.
    pub fn wait_before(&self, retry: u32) -> Option<Duration> {
        if self.max_retries.is_some_and(|max| retry >= max) {
            return None;
        }
        let wait = self.interval_step.checked_mul(retry).and_then(|grown| grown.checked_add(self.interval_start));
        Some(wait.unwrap_or(self.interval_max).min(self.interval_max))
    }
}

impl FromValue for RetryPolicy {
    const KIND: &'static str = "a table with max_retries, interval_start, interval_step, interval_max";

    fn from_value(value: &Value) -> Result<Self, InvalidValue> {
        let Value::Table(entries) = value else { return Err(InvalidValue::new(value, Self::KIND)) };
        let mut policy = Self::publish();
        for (name, value) in entries {
            let read = match name.as_str() {
                "max_retries" => Option::from_value(value).map(|retries| policy.max_retries = retries),
                "interval_start" => Duration::from_value(value).map(|wait| policy.interval_start = wait),
                "interval_step" => Duration::from_value(value).map(|step| policy.interval_step = step),
                "interval_max" => Duration::from_value(value).map(|wait| policy.interval_max = wait),
                _ => {
                    let known = ["max_retries", "interval_start", "interval_step", "interval_max"];
                    return Err(InvalidValue::unknown_entry(name, &known));
                }
            };
            read.map_err(|wrong| wrong.inside(name))?;
        }
        Ok(policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guide_0_83_three_retries_wait_0_4_s_in_all() {
        let policy = RetryPolicy::publish();
        let waits: Vec<_> = (0..).map_while(|retry| policy.wait_before(retry)).collect();
        let ms = Duration::from_millis;
        assert_eq!(waits, [ms(0), ms(200), ms(200)]);
        assert_eq!(waits.iter().sum::<Duration>(), ms(400));
    }

    #[test]
    fn without_limit_it_goes_on() {
        let policy = RetryPolicy::publish().forever().interval_max(Duration::from_secs(1));
        assert_eq!(policy.wait_before(1_000_000), Some(Duration::from_secs(1)));
        assert_eq!(policy.wait_before(3), Some(Duration::from_millis(600)));
    }

    #[test]
    fn a_table_is_laid_over_the_defaults() {
        let table = Value::Table(vec![("max_retries".into(), Value::Text("none".into()))]);
        let policy = RetryPolicy::from_value(&table).unwrap();
        assert_eq!(policy, RetryPolicy::publish().forever());
        let typo = Value::Table(vec![("max_retry".into(), Value::Int(1))]);
        assert!(RetryPolicy::from_value(&typo).unwrap_err().allowed.contains("max_retries"));
    }
}
