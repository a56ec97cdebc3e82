//! The time limits of a run. As in Celery those of the call win over those of the task, and these over the settings.
//!
//! They follow the monotonic side of the clock, without the time in which the process was stopped: a run does not time
//! out because somebody set the clock of the machine, or because the machine slept.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apium_app::options::effective_options::EffectiveOptions;
use apium_app::task::registered::RegisteredTask;
use apium_protocol::message::headers::TimeLimit;

use crate::limits::stopped_time::{RunClock, RunTime};

/// How long a run may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    pub(crate) soft: Option<Duration>,
    pub(crate) hard: Option<Duration>,
}

impl Limits {
    pub(crate) const NONE: Self = Self { soft: None, hard: None };

    /// The limits of a call. A missing limit or 0 in the message leaves it to the task, whose options include the
    /// settings.
    pub(crate) fn of(call: TimeLimit, task: &EffectiveOptions) -> Self {
        Self::of_call(call, Self { soft: task.soft_time_limit, hard: task.time_limit })
    }

    /// The limits of a call, and `otherwise` those that it does not bring.
    pub(crate) fn of_call(call: TimeLimit, otherwise: Self) -> Self {
        let positive = |seconds: Option<f64>| {
            seconds.filter(|seconds| *seconds > 0.0).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        };
        Self { soft: positive(call.soft).or(otherwise.soft), hard: positive(call.hard).or(otherwise.hard) }
    }

    /// The same limits as a message writes them.
    pub(crate) fn in_seconds(self) -> TimeLimit {
        let seconds = |limit: Option<Duration>| limit.map(|limit| limit.as_secs_f64());
        TimeLimit { hard: seconds(self.hard), soft: seconds(self.soft) }
    }

    pub(crate) fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// The limits of a run that begins now, as they pass.
    pub(crate) fn deadlines(self, clock: &RunClock) -> Deadlines {
        Deadlines { limits: self, time: clock.start() }
    }
}

/// The limits of a run that have not passed.
pub(crate) struct Deadlines {
    limits: Limits,
    time: RunTime,
}

/// A limit that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passed {
    Soft,
    Hard,
}

impl Deadlines {
    /// Waits until the next limit passes; for ever when none is left. Cancel-safe: a limit that was not returned is
    /// returned by the next call. The soft limit is returned once.
    pub(crate) async fn next(&mut self) -> Passed {
        match (self.limits.soft, self.limits.hard) {
            (Some(soft), hard) if hard.is_none_or(|hard| soft < hard) => {
                self.time.reach(soft).await;
                self.limits.soft = None;
                Passed::Soft
            }
            (_, Some(hard)) => {
                self.time.reach(hard).await;
                Passed::Hard
            }
            _ => std::future::pending().await,
        }
    }
}

/// Tasks that cannot see a soft limit, and were called with one. A worker refuses to start when such a limit is an
/// option of the task. One that a call brings is seen only here, so the task runs without it.
#[derive(Debug, Default)]
pub(crate) struct UnseenSoftLimits(Mutex<HashSet<Arc<str>>>);

impl UnseenSoftLimits {
    /// Logs a warning, once for each task, when the task cannot see its soft limit.
    pub(crate) fn warn_if_unseen(&self, task: &RegisteredTask, limits: Limits) {
        if limits.soft.is_none() || !task.is_blocking() || task.takes_ctx {
            return;
        }
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(task.name.clone()) {
            let task = &*task.name;
            tracing::warn!(
                task,
                "the soft time limit of a call of {task} has no effect: a plain fn sees it through its context only; take \
                 `ctx: &Ctx` and call ctx.check()?, make it an async fn, or use time_limit"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use apium_app::options::effective_options::TaskDefaults;
    use apium_app::options::task_options::TaskOptions;
    use apium_transport::clock::Clock;
    use futures_util::FutureExt as _;
    use jiff::Timestamp;

    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn the_limits_of_the_call_win_over_those_of_the_task() {
        let mut options = TaskOptions::NEW;
        (options.time_limit, options.soft_time_limit) = (Some(S(60)), Some(S(50)));
        let task = EffectiveOptions::resolve(&options, &TaskDefaults::default()).unwrap();
        let call = |hard, soft| Limits::of(TimeLimit { hard, soft }, &task);
        assert_eq!(call(None, None), Limits { hard: Some(S(60)), soft: Some(S(50)) });
        assert_eq!(call(Some(0.0), None), Limits { hard: Some(S(60)), soft: Some(S(50)) });
        assert_eq!(
            call(Some(30.0), Some(20.5)),
            Limits { hard: Some(S(30)), soft: Some(Duration::from_millis(20_500)) }
        );
    }

    #[tokio::test]
    async fn the_soft_limit_passes_first_and_once() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let mut deadlines = Limits { soft: Some(S(1)), hard: Some(S(2)) }.deadlines(&RunClock::new(clock.clone()));
        clock.advance(S(5));
        assert_eq!(deadlines.next().await, Passed::Soft);
        assert_eq!(deadlines.next().await, Passed::Hard);
    }

    #[tokio::test]
    async fn a_limit_passes_after_its_time_whatever_the_time_of_day_is() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let mut deadlines = Limits { soft: Some(S(1)), hard: Some(S(2)) }.deadlines(&RunClock::new(clock.clone()));
        clock.set(Timestamp::UNIX_EPOCH + S(86_400));
        assert_eq!(deadlines.next().now_or_never(), None, "a step forward");
        clock.set(Timestamp::UNIX_EPOCH - S(86_400));
        clock.advance(S(1));
        assert_eq!(deadlines.next().now_or_never(), Some(Passed::Soft), "a step back");
        clock.advance(S(1));
        assert_eq!(deadlines.next().now_or_never(), Some(Passed::Hard));
    }
}
