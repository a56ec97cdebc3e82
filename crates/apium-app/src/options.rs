//! Options of a task: as declared (all optional), and in effect (settings and annotations applied).

use std::borrow::Cow;
use std::error::Error as StdError;
use std::time::Duration;

/// Tells whether an error is of a certain type; made by the macro from a type's name.
#[derive(Debug, Clone, Copy)]
pub struct ErrorMatcher {
    /// The type as written, for listings.
    pub name: &'static str,
    /// Whether the error is of that type.
    pub matches: fn(&(dyn StdError + 'static)) -> bool,
}

impl ErrorMatcher {
    /// Matches errors of type `E`.
    pub const fn of<E: StdError + 'static>(name: &'static str) -> Self {
        Self { name, matches: |error| error.is::<E>() }
    }

    /// Matches every failure, also one without a Rust error behind it.
    pub const ANY: Self = Self { name: "any", matches: |_| true };
}

/// How automatic retries are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backoff {
    /// Not at all: `default_retry_delay` or none (see TASK guide row 0.23).
    Off,
    /// `factor · 2^retries` seconds.
    Exponential(u32),
}

/// How often a task may start, per worker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateLimit {
    /// Starts per second; never zero or less.
    pub per_second: f64,
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
}

/// Options of a task in effect: call excepted, everything is decided.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Effective {
    /// Ack after the run.
    pub acks_late: bool,
    /// Ack a failed run (late ack).
    pub acks_on_failure: bool,
    /// Ack a timed-out run (late ack).
    pub acks_on_timeout: bool,
    /// Requeue a run whose process died (late ack).
    pub reject_on_worker_lost: bool,
    /// Store STARTED.
    pub track_started: bool,
    /// Store no result.
    pub ignore_result: bool,
    /// Store errors even so.
    pub store_errors_even_if_ignored: bool,
    /// Rate limit.
    pub rate_limit: Option<RateLimit>,
    /// Hard limit.
    pub time_limit: Option<Duration>,
    /// Soft limit.
    pub soft_time_limit: Option<Duration>,
    /// How many retries; `None` is without limit.
    pub max_retries: Option<u32>,
    /// Wait before a retry by hand that names none.
    pub default_retry_delay: Duration,
    /// Wait before an automatic retry without backoff.
    pub autoretry_delay: Duration,
    /// `max_retries` of automatic retries.
    pub autoretry_max_retries: Option<u32>,
    /// Backoff of automatic retries.
    pub retry_backoff: Backoff,
    /// Its largest value.
    pub retry_backoff_max: Duration,
    /// Full jitter.
    pub retry_jitter: bool,
    /// Characters of a result in logs.
    pub resultrepr_maxsize: usize,
    /// Record children.
    pub trail: bool,
}
