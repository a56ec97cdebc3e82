//! Options of a task in effect: the declared ones, `task_annotations`, the app's settings and Celery's defaults in one.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::options::rate_limit::RateLimit;
use crate::options::task_options::{Backoff, TaskOptions};

/// What the app's settings say to every task that says nothing itself. [`Default`] is Celery's, with the guide's
/// differences.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TaskDefaults {
    /// `task_acks_late` (false).
    pub acks_late: bool,
    /// `task_acks_on_failure` (true).
    pub acks_on_failure: bool,
    /// `task_acks_on_timeout` (true).
    pub acks_on_timeout: bool,
    /// `task_reject_on_worker_lost` (false).
    pub reject_on_worker_lost: bool,
    /// `task_track_started` (false).
    pub track_started: bool,
    /// `task_ignore_result` (false).
    pub ignore_result: bool,
    /// `task_store_errors_even_if_ignored` (false).
    pub store_errors_even_if_ignored: bool,
    /// `task_default_rate_limit` (none).
    pub rate_limit: Option<RateLimit>,
    /// `task_time_limit` (none).
    pub time_limit: Option<Duration>,
    /// `task_soft_time_limit` (none).
    pub soft_time_limit: Option<Duration>,
    /// `task_default_retry_delay`, where it is named explicitly. Otherwise 1800 s for a retry by hand (the guide's
    /// value, where Celery 5.7 has 180 s) and no delay for an automatic one.
    pub default_retry_delay: Option<Duration>,
}

impl Default for TaskDefaults {
    fn default() -> Self {
        Self {
            acks_late: false,
            acks_on_failure: true,
            acks_on_timeout: true,
            reject_on_worker_lost: false,
            track_started: false,
            ignore_result: false,
            store_errors_even_if_ignored: false,
            rate_limit: None,
            time_limit: None,
            soft_time_limit: None,
            default_retry_delay: None,
        }
    }
}

/// Options of a task in effect: the call excepted, everything is decided.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EffectiveOptions {
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

/// The guide's `default_retry_delay`.
const DEFAULT_RETRY_DELAY: Duration = Duration::from_secs(30 * 60);
const DEFAULT_MAX_RETRIES: u32 = 3;
const DEFAULT_BACKOFF_MAX: Duration = Duration::from_secs(600);
const DEFAULT_RESULTREPR_MAXSIZE: usize = 1024;

impl EffectiveOptions {
    /// Decides every option: what `options` gives, else `defaults`, else Celery's default.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a rate limit that cannot be read and for a soft limit above the hard one.
    pub fn resolve(options: &TaskOptions, defaults: &TaskDefaults) -> Result<Self> {
        let rate_limit = match &options.rate_limit {
            Some(text) => RateLimit::parse(text)?,
            None => defaults.rate_limit,
        };
        let time_limit = options.time_limit.or(defaults.time_limit);
        let soft_time_limit = options.soft_time_limit.or(defaults.soft_time_limit);
        check_limits(time_limit, soft_time_limit)?;
        let max_retries = options.max_retries.unwrap_or(Some(DEFAULT_MAX_RETRIES));
        // A delay that someone named counts for automatic retries too; the built-in one does not (guide row 0.23).
        let named_delay = options.default_retry_delay.or(defaults.default_retry_delay);
        Ok(Self {
            acks_late: options.acks_late.unwrap_or(defaults.acks_late),
            acks_on_failure: options.acks_on_failure.unwrap_or(defaults.acks_on_failure),
            acks_on_timeout: options.acks_on_timeout.unwrap_or(defaults.acks_on_timeout),
            reject_on_worker_lost: options.reject_on_worker_lost.unwrap_or(defaults.reject_on_worker_lost),
            track_started: options.track_started.unwrap_or(defaults.track_started),
            ignore_result: options.ignore_result.unwrap_or(defaults.ignore_result),
            store_errors_even_if_ignored: options
                .store_errors_even_if_ignored
                .unwrap_or(defaults.store_errors_even_if_ignored),
            rate_limit,
            time_limit,
            soft_time_limit,
            max_retries,
            default_retry_delay: named_delay.unwrap_or(DEFAULT_RETRY_DELAY),
            autoretry_delay: options.retry_kwargs_countdown.or(named_delay).unwrap_or(Duration::ZERO),
            autoretry_max_retries: options.retry_kwargs_max_retries.unwrap_or(max_retries),
            retry_backoff: options.retry_backoff.unwrap_or(Backoff::Off),
            retry_backoff_max: options.retry_backoff_max.unwrap_or(DEFAULT_BACKOFF_MAX),
            retry_jitter: options.retry_jitter.unwrap_or(true),
            resultrepr_maxsize: options.resultrepr_maxsize.unwrap_or(DEFAULT_RESULTREPR_MAXSIZE),
            trail: options.trail.unwrap_or(true),
        })
    }
}

impl Default for EffectiveOptions {
    /// A task that declares nothing, in an app that sets nothing.
    fn default() -> Self {
        let options = TaskOptions { rate_limit: None, time_limit: None, ..TaskOptions::NEW };
        Self::resolve(&options, &TaskDefaults::default())
            .unwrap_or_else(|error| unreachable!("nothing to refuse in defaults: {error}"))
    }
}

fn check_limits(hard: Option<Duration>, soft: Option<Duration>) -> Result<()> {
    match (hard, soft) {
        (Some(hard), Some(soft)) if soft > hard => Err(Error::new(
            ErrorKind::Config,
            format!(
                "use a soft time limit of {} s above the hard one of {} s: the soft limit must come first",
                soft.as_secs_f64(),
                hard.as_secs_f64()
            ),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{EffectiveOptions, TaskDefaults};
    use crate::options::task_options::{Backoff, TaskOptions};

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn resolve(options: TaskOptions, defaults: &TaskDefaults) -> EffectiveOptions {
        EffectiveOptions::resolve(&options, defaults).unwrap()
    }

    #[test]
    fn the_defaults_are_celerys_with_the_guides_retry_delay() {
        let plain = EffectiveOptions::default();
        assert!(!plain.acks_late && plain.acks_on_failure && plain.acks_on_timeout && !plain.reject_on_worker_lost);
        assert!(!plain.track_started && !plain.ignore_result && !plain.store_errors_even_if_ignored);
        assert_eq!((plain.rate_limit, plain.time_limit, plain.soft_time_limit), (None, None, None));
        assert_eq!((plain.max_retries, plain.autoretry_max_retries), (Some(3), Some(3)));
        assert_eq!((plain.default_retry_delay, plain.autoretry_delay), (S(1800), S(0)));
        assert_eq!((plain.retry_backoff, plain.retry_backoff_max, plain.retry_jitter), (Backoff::Off, S(600), true));
        assert_eq!((plain.resultrepr_maxsize, plain.trail), (1024, true));
    }

    #[test]
    fn the_task_beats_the_setting() {
        let defaults = TaskDefaults {
            acks_late: true,
            track_started: true,
            time_limit: Some(S(60)),
            soft_time_limit: Some(S(50)),
            ..TaskDefaults::default()
        };
        let options = TaskOptions { acks_late: Some(false), soft_time_limit: Some(S(5)), ..TaskOptions::NEW };
        let effective = resolve(options, &defaults);
        assert!(!effective.acks_late && effective.track_started);
        assert_eq!((effective.time_limit, effective.soft_time_limit), (Some(S(60)), Some(S(5))));
    }

    #[test]
    fn automatic_retries_wait_only_for_a_delay_that_someone_named() {
        let with = |task: Option<u64>, countdown: Option<u64>, setting: Option<u64>| {
            let options = TaskOptions {
                default_retry_delay: task.map(S),
                retry_kwargs_countdown: countdown.map(S),
                ..TaskOptions::NEW
            };
            let defaults = TaskDefaults { default_retry_delay: setting.map(S), ..TaskDefaults::default() };
            let effective = resolve(options, &defaults);
            (effective.default_retry_delay.as_secs(), effective.autoretry_delay.as_secs())
        };
        assert_eq!(with(None, None, None), (1800, 0));
        assert_eq!(with(Some(30), None, None), (30, 30));
        assert_eq!(with(None, Some(7), None), (1800, 7));
        assert_eq!(with(None, None, Some(180)), (180, 180));
        assert_eq!(with(Some(30), Some(7), Some(180)), (30, 7));
        assert_eq!(with(Some(0), None, Some(180)), (0, 0));
    }

    #[test]
    fn retry_kwargs_limit_automatic_retries_alone() {
        let options =
            TaskOptions { max_retries: Some(Some(8)), retry_kwargs_max_retries: Some(Some(5)), ..TaskOptions::NEW };
        let effective = resolve(options, &TaskDefaults::default());
        assert_eq!((effective.max_retries, effective.autoretry_max_retries), (Some(8), Some(5)));
        let options = TaskOptions { max_retries: Some(None), ..TaskOptions::NEW };
        let effective = resolve(options, &TaskDefaults::default());
        assert_eq!((effective.max_retries, effective.autoretry_max_retries), (None, None));
    }

    #[test]
    fn a_soft_limit_above_the_hard_one_is_refused() {
        let options = TaskOptions { soft_time_limit: Some(S(61)), time_limit: Some(S(60)), ..TaskOptions::NEW };
        let error = EffectiveOptions::resolve(&options, &TaskDefaults::default()).unwrap_err().to_string();
        assert!(error.contains("61 s") && error.contains("60 s"), "{error}");
        let equal = TaskOptions { soft_time_limit: Some(S(60)), time_limit: Some(S(60)), ..TaskOptions::NEW };
        assert!(EffectiveOptions::resolve(&equal, &TaskDefaults::default()).is_ok());
    }

    #[test]
    fn a_bad_rate_limit_is_refused_and_zero_turns_one_off() {
        let options = TaskOptions { rate_limit: Some("10/x".into()), ..TaskOptions::NEW };
        assert!(EffectiveOptions::resolve(&options, &TaskDefaults::default()).is_err());
        let limit = crate::options::rate_limit::RateLimit { per_second: 1.0 };
        let defaults = TaskDefaults { rate_limit: Some(limit), ..TaskDefaults::default() };
        assert_eq!(resolve(TaskOptions::NEW, &defaults).rate_limit, Some(limit));
        let off = TaskOptions { rate_limit: Some("0".into()), ..TaskOptions::NEW };
        assert_eq!(resolve(off, &defaults).rate_limit, None);
    }
}
