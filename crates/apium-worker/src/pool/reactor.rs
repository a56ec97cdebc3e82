//! The pool that runs an `async fn` on tokio, in the task of its slot.

use std::panic::AssertUnwindSafe;
use std::pin::pin;

use apium_app::context::current;
use apium_app::failure::Failure;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::limits::stopped_time::RunClock;
use crate::limits::time_limit::Passed;
use crate::outcome::RunOutcome;
use crate::pool::body::{body, outcome_of};
use crate::pool::pool::{BodyRun, Pool};
use crate::pool::watchdog::TimedPoll;

/// Runs each body inside the future of its caller.
pub(crate) struct Reactor {
    pub(crate) clock: RunClock,
}

impl Pool for Reactor {
    fn run<'a>(&'a self, run: BodyRun<'a>) -> BoxFuture<'a, RunOutcome> {
        Box::pin(self.run_body(run))
    }
}

impl Reactor {
    /// Runs the body. At a limit, or when it is cancelled, it is dropped at its await point.
    async fn run_body(&self, run: BodyRun<'_>) -> RunOutcome {
        let BodyRun { ctx, task, limits, slot, .. } = run;
        let body = pin!(AssertUnwindSafe(current::scope(ctx.clone(), body(ctx.clone(), task.clone()))).catch_unwind());
        let mut body = TimedPoll { timer: slot.timer.as_ref(), future: body };
        if limits.is_none() {
            return tokio::select! {
                biased;
                returned = &mut body => outcome_of(returned),
                cancelled = slot.slot.cancel.cancelled() => cancelled.into(),
            };
        }
        let mut deadlines = limits.deadlines(&self.clock);
        loop {
            let passed = tokio::select! {
                biased;
                returned = &mut body => return outcome_of(returned),
                passed = deadlines.next() => passed,
                cancelled = slot.slot.cancel.cancelled() => return cancelled.into(),
            };
            match passed {
                // A body that observes the signal decides itself what to do about it. Any other ends here.
                Passed::Soft => {
                    ctx.soft_limit().raise_soft();
                    if !ctx.soft_limit().is_observed() {
                        return RunOutcome::Failure(Failure::soft_time_limit());
                    }
                }
                Passed::Hard => {
                    ctx.soft_limit().raise_hard();
                    return RunOutcome::TimedOut(limits.hard.unwrap_or_default());
                }
            }
        }
    }
}
