//! The options of a task in effect: its declared options, else the app's settings, else the defaults.

use std::borrow::Cow;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::options::rate_limit::RateLimit;
use crate::options::task_options::{Backoff, Isolation, TaskOptions};

macro_rules! effective_options {
    (
        { $($name:ident [$($doc:tt)+] $setting:ident ($type:ty) ($default:expr);)+ }
        { $($named:ident [$($named_doc:tt)+] $named_setting:ident ($named_type:ty) ($named_default:expr);)+ }
        { $($only:ident [$($only_doc:tt)+] ($only_type:ty) ($only_default:expr);)+ }
    ) => {
        /// The options that the app's settings give to every task that does not declare them. The defaults are
        /// Celery's, but `default_retry_delay` is `None` unless it is set.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub struct TaskDefaults {
            $( #[doc = concat!("`", stringify!($setting), "`. ", $($doc)+)] pub $name: $type, )+
            $( #[doc = concat!("`", stringify!($named_setting), "`. ", $($named_doc)+)] pub $named: $named_type, )+
        }

        impl Default for TaskDefaults {
            fn default() -> Self {
                Self { $( $name: $default, )+ $( $named: $named_default, )+ }
            }
        }

        /// The options of a task in effect. A call may still replace some of them.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub struct EffectiveOptions {
            $( #[doc = concat!($($doc)+)] pub $name: $type, )+
            $( #[doc = concat!($($only_doc)+)] pub $only: $only_type, )+
            /// How long a retry waits for which the task gives no delay.
            pub default_retry_delay: Duration,
            /// How long an automatic retry without backoff waits.
            pub autoretry_delay: Duration,
            /// How many automatic retries there may be; `None` is no limit.
            pub autoretry_max_retries: Option<u32>,
        }

        impl EffectiveOptions {
            /// The options that depend on one option and one setting. [`resolve`](Self::resolve) fills the last three,
            /// which depend on several.
            fn of(options: &TaskOptions, defaults: &TaskDefaults) -> Result<Self> {
                Ok(Self {
                    $( $name: options.$name.or_setting(&defaults.$name)?, )+
                    $( $only: options.$only.unwrap_or($only_default), )+
                    default_retry_delay: DEFAULT_RETRY_DELAY,
                    autoretry_delay: Duration::ZERO,
                    autoretry_max_retries: None,
                })
            }
        }
    };
}
macro_rules! with_named {
    ($resolved:tt) => {
        apium_options::options! { named => with_effective_only $resolved }
    };
}
macro_rules! with_effective_only {
    ($resolved:tt $named:tt) => {
        apium_options::options! { effective_only => effective_options $resolved $named }
    };
}
apium_options::options! { resolved => with_named }

/// An option of a task that has a setting.
trait OrSetting<T> {
    /// The option if it is declared, else the setting.
    fn or_setting(&self, setting: &T) -> Result<T>;
}

impl<T: Clone> OrSetting<T> for Option<T> {
    fn or_setting(&self, setting: &T) -> Result<T> {
        Ok(self.as_ref().unwrap_or(setting).clone())
    }
}

impl<T: Clone> OrSetting<Self> for Option<T> {
    fn or_setting(&self, setting: &Self) -> Result<Self> {
        Ok(self.as_ref().or(setting.as_ref()).cloned())
    }
}

/// A task declares its rate limit as text. Zero is no limit, also where the setting has one.
impl OrSetting<Option<RateLimit>> for Option<Cow<'static, str>> {
    fn or_setting(&self, setting: &Option<RateLimit>) -> Result<Option<RateLimit>> {
        match self {
            Some(text) => RateLimit::parse(text),
            None => Ok(*setting),
        }
    }
}

/// The default of `default_retry_delay`, which is the one of Celery's task guide. Celery 5.7 itself has 180 s.
const DEFAULT_RETRY_DELAY: Duration = Duration::from_secs(30 * 60);

impl EffectiveOptions {
    /// Resolves every option: what `options` gives, else `defaults`, else Celery's default.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a rate limit that cannot be read and for a soft limit above the hard one.
    pub fn resolve(options: &TaskOptions, defaults: &TaskDefaults) -> Result<Self> {
        let mut effective = Self::of(options, defaults)?;
        // Automatic retries have a delay that was set, but not the default one.
        let set_delay = options.default_retry_delay.or(defaults.default_retry_delay);
        effective.default_retry_delay = set_delay.unwrap_or(DEFAULT_RETRY_DELAY);
        effective.autoretry_delay = options.retry_kwargs_countdown.or(set_delay).unwrap_or(Duration::ZERO);
        effective.autoretry_max_retries = options.retry_kwargs_max_retries.unwrap_or(effective.max_retries);
        check_limits(effective.time_limit, effective.soft_time_limit)?;
        Ok(effective)
    }
}

impl Default for EffectiveOptions {
    /// A task that declares nothing, in an app that sets nothing.
    fn default() -> Self {
        Self::resolve(&TaskOptions::NEW, &TaskDefaults::default())
            .unwrap_or_else(|error| unreachable!("the defaults are valid: {error:#}"))
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
    use crate::options::rate_limit::RateLimit;
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
    fn an_option_of_the_task_replaces_the_setting() {
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
    fn automatic_retries_have_no_delay_unless_one_is_set() {
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
    fn retry_kwargs_limit_only_automatic_retries() {
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
        let limit = RateLimit { per_second: 1.0 };
        let defaults = TaskDefaults { rate_limit: Some(limit), ..TaskDefaults::default() };
        assert_eq!(resolve(TaskOptions::NEW, &defaults).rate_limit, Some(limit));
        let off = TaskOptions { rate_limit: Some("0".into()), ..TaskOptions::NEW };
        assert_eq!(resolve(off, &defaults).rate_limit, None);
    }
}
