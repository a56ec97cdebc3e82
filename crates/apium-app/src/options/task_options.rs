//! Options of a task as declared; all optional. [`effective`](crate::options::effective_options) says what they come
//! to.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::time::Duration;

use crate::failure::Failure;

/// Tells whether an error is of a certain type; made by the macro from a type's name.
#[derive(Debug, Clone, Copy)]
pub struct ErrorMatcher {
    name: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Any,
    Type(fn(&(dyn StdError + 'static)) -> bool),
}

impl ErrorMatcher {
    /// Matches failures that come from an error of type `E`, or from an error that has one as its source.
    pub const fn of<E: StdError + 'static>(name: &'static str) -> Self {
        Self { name, kind: Kind::Type(|error| error.is::<E>()) }
    }

    /// Matches every failure, also one without a Rust error behind it (Celery: `(Exception,)`).
    pub const ANY: Self = Self { name: "any", kind: Kind::Any };

    /// The type as written, for listings.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether the failure is of that type.
    pub fn matches(&self, failure: &Failure) -> bool {
        match self.kind {
            Kind::Any => true,
            Kind::Type(is) => failure.any_source(is),
        }
    }
}

/// How automatic retries are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backoff {
    /// Not at all: `default_retry_delay` or none (see TASK guide row 0.23).
    Off,
    /// `factor · 2^retries` seconds.
    Exponential(u32),
}

/// Options of a task as declared. `None` leaves it to the settings, then to Celery's default.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TaskOptions {
    /// Ack after the run rather than before (`task_acks_late`, default false).
    pub acks_late: Option<bool>,
    /// With late ack: whether a failed run is acked (`task_acks_on_failure`, default true).
    pub acks_on_failure: Option<bool>,
    /// With late ack: whether a run that hit its hard limit is acked (`task_acks_on_timeout`, default true).
    pub acks_on_timeout: Option<bool>,
    /// With late ack: whether a run whose process died goes back to the queue (`task_reject_on_worker_lost`).
    pub reject_on_worker_lost: Option<bool>,
    /// Store STARTED (`task_track_started`, default false).
    pub track_started: Option<bool>,
    /// Store no result (`task_ignore_result`, default false).
    pub ignore_result: Option<bool>,
    /// Store errors even so (`task_store_errors_even_if_ignored`, default false).
    pub store_errors_even_if_ignored: Option<bool>,
    /// Serializer of calls (`task_serializer`, default json).
    pub serializer: Option<Cow<'static, str>>,
    /// Compression of calls (`task_compression`, default none).
    pub compression: Option<Cow<'static, str>>,
    /// Rate limit (`task_default_rate_limit`, default none), as written: `"100/m"`, `"2.5"`.
    pub rate_limit: Option<Cow<'static, str>>,
    /// Hard limit (`task_time_limit`, default none).
    pub time_limit: Option<Duration>,
    /// Soft limit (`task_soft_time_limit`, default none).
    pub soft_time_limit: Option<Duration>,
    /// Expiry of every call, from the call on.
    pub expires: Option<Duration>,
    /// Priority of calls (`task_default_priority`).
    pub priority: Option<u8>,
    /// Queue of calls; beats `task_routes`.
    pub queue: Option<Cow<'static, str>>,
    /// Result backend of this task, by URL (default: the app's).
    pub backend: Option<Cow<'static, str>>,
    /// How many retries; `Some(None)` is without limit (default 3).
    pub max_retries: Option<Option<u32>>,
    /// Wait before a retry that names none (`task_default_retry_delay`, default 1800 s).
    pub default_retry_delay: Option<Duration>,
    /// Errors that retry by themselves.
    pub autoretry_for: Cow<'static, [ErrorMatcher]>,
    /// Errors that do not, looked at first.
    pub dont_autoretry_for: Cow<'static, [ErrorMatcher]>,
    /// `max_retries` of automatic retries.
    pub retry_kwargs_max_retries: Option<Option<u32>>,
    /// Wait before automatic retries; ignored when `retry_backoff` is on.
    pub retry_kwargs_countdown: Option<Duration>,
    /// Exponential backoff of automatic retries (default off).
    pub retry_backoff: Option<Backoff>,
    /// Its largest value (default 600 s).
    pub retry_backoff_max: Option<Duration>,
    /// Full jitter of the backoff (default true).
    pub retry_jitter: Option<bool>,
    /// Expected errors: stored as FAILURE, logged without noise.
    pub throws: Cow<'static, [ErrorMatcher]>,
    /// How many characters of a result go into logs (default 1024).
    pub resultrepr_maxsize: Option<usize>,
    /// Whether children are recorded in the result (default true).
    pub trail: Option<bool>,
}

impl TaskOptions {
    /// No option given.
    pub const NEW: Self = Self {
        acks_late: None,
        acks_on_failure: None,
        acks_on_timeout: None,
        reject_on_worker_lost: None,
        track_started: None,
        ignore_result: None,
        store_errors_even_if_ignored: None,
        serializer: None,
        compression: None,
        rate_limit: None,
        time_limit: None,
        soft_time_limit: None,
        expires: None,
        priority: None,
        queue: None,
        backend: None,
        max_retries: None,
        default_retry_delay: None,
        autoretry_for: Cow::Borrowed(&[]),
        dont_autoretry_for: Cow::Borrowed(&[]),
        retry_kwargs_max_retries: None,
        retry_kwargs_countdown: None,
        retry_backoff: None,
        retry_backoff_max: None,
        retry_jitter: None,
        throws: Cow::Borrowed(&[]),
        resultrepr_maxsize: None,
        trail: None,
    };

    /// These options with those that `other` gives laid over (`task_annotations` over the attribute). A list replaces a
    /// list.
    #[must_use]
    pub fn overlay(self, other: Self) -> Self {
        Self {
            acks_late: other.acks_late.or(self.acks_late),
            acks_on_failure: other.acks_on_failure.or(self.acks_on_failure),
            acks_on_timeout: other.acks_on_timeout.or(self.acks_on_timeout),
            reject_on_worker_lost: other.reject_on_worker_lost.or(self.reject_on_worker_lost),
            track_started: other.track_started.or(self.track_started),
            ignore_result: other.ignore_result.or(self.ignore_result),
            store_errors_even_if_ignored: other.store_errors_even_if_ignored.or(self.store_errors_even_if_ignored),
            serializer: other.serializer.or(self.serializer),
            compression: other.compression.or(self.compression),
            rate_limit: other.rate_limit.or(self.rate_limit),
            time_limit: other.time_limit.or(self.time_limit),
            soft_time_limit: other.soft_time_limit.or(self.soft_time_limit),
            expires: other.expires.or(self.expires),
            priority: other.priority.or(self.priority),
            queue: other.queue.or(self.queue),
            backend: other.backend.or(self.backend),
            max_retries: other.max_retries.or(self.max_retries),
            default_retry_delay: other.default_retry_delay.or(self.default_retry_delay),
            autoretry_for: if other.autoretry_for.is_empty() { self.autoretry_for } else { other.autoretry_for },
            dont_autoretry_for: if other.dont_autoretry_for.is_empty() {
                self.dont_autoretry_for
            } else {
                other.dont_autoretry_for
            },
            retry_kwargs_max_retries: other.retry_kwargs_max_retries.or(self.retry_kwargs_max_retries),
            retry_kwargs_countdown: other.retry_kwargs_countdown.or(self.retry_kwargs_countdown),
            retry_backoff: other.retry_backoff.or(self.retry_backoff),
            retry_backoff_max: other.retry_backoff_max.or(self.retry_backoff_max),
            retry_jitter: other.retry_jitter.or(self.retry_jitter),
            throws: if other.throws.is_empty() { self.throws } else { other.throws },
            resultrepr_maxsize: other.resultrepr_maxsize.or(self.resultrepr_maxsize),
            trail: other.trail.or(self.trail),
        }
    }
}

impl Default for TaskOptions {
    fn default() -> Self {
        Self::NEW
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::{ErrorMatcher, TaskOptions};
    use crate::failure::Failure;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }

    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_matcher_looks_at_the_error_and_its_sources() {
        let failure = Failure::from_error(Outer("x".parse::<u8>().unwrap_err()));
        assert!(ErrorMatcher::of::<Outer>("Outer").matches(&failure));
        assert!(ErrorMatcher::of::<std::num::ParseIntError>("ParseIntError").matches(&failure));
        assert!(!ErrorMatcher::of::<fmt::Error>("fmt::Error").matches(&failure));
        assert!(ErrorMatcher::ANY.matches(&failure));
    }

    #[test]
    fn a_failure_without_an_error_is_matched_by_any_alone() {
        let failure = Failure::message("no type");
        assert!(ErrorMatcher::ANY.matches(&failure));
        assert!(!ErrorMatcher::of::<fmt::Error>("fmt::Error").matches(&failure));
    }

    #[test]
    fn what_is_laid_over_wins_and_the_rest_stays() {
        let below = TaskOptions { acks_late: Some(true), priority: Some(3), ..TaskOptions::NEW };
        let above = TaskOptions { priority: Some(6), max_retries: Some(None), ..TaskOptions::NEW };
        let both = below.overlay(above);
        assert_eq!((both.acks_late, both.priority, both.max_retries), (Some(true), Some(6), Some(None)));
    }
}
