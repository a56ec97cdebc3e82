//! Ends of foreign tasks outside of their bodies: a time limit, a dead child, a revoke.

use std::sync::Arc;

use apium_app::context::context::Ctx;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;

use crate::limits::time_limit::Limits;
use crate::outcome::RunOutcome;
use crate::pipeline::executor::Executor;
use crate::pipeline::log;
use crate::pipeline::process::Process;
use crate::pipeline::task_run::TaskRun;
use crate::pipeline::verdict::crash_loop_text;
use crate::pool::pool::{BodyRun, PoolSlot};
use crate::pool::process::messages::OutsideEnd;

impl Process {
    /// Lets a child do what follows a foreign task that has ended outside of its body: only the child can read what
    /// follows it, and call its errbacks and hooks.
    pub(crate) async fn conclude_foreign(
        &self,
        task_run: &TaskRun,
        ctx: &Ctx,
        outcome: RunOutcome,
        slot: &PoolSlot,
    ) -> RunOutcome {
        if !task_run.task.is_foreign() || ctx.handed_over().is_some() {
            return outcome;
        }
        let failed = |exception| OutsideEnd::of(State::Failure, exception);
        let instead = match &outcome {
            RunOutcome::Lost { reason } if task_run.is_retried_when_lost() => {
                OutsideEnd::of(State::Retry, ExceptionInfo::worker_lost(reason))
            }
            RunOutcome::Failure(failure) if !task_run.task.judgement_of(failure).bad_arguments => {
                failed(failure.exception().clone()).with_hooks()
            }
            RunOutcome::TimedOut(limit) => failed(ExceptionInfo::time_limit_exceeded(limit.as_secs_f64())).with_hooks(),
            RunOutcome::Lost { reason } if !task_run.begins_again() => failed(ExceptionInfo::worker_lost(reason)),
            RunOutcome::CrashLoop { crashes } => failed(ExceptionInfo::worker_lost(crash_loop_text(*crashes))),
            RunOutcome::Expired => OutsideEnd::revoked("expired", None),
            RunOutcome::Revoked => OutsideEnd::revoked("revoked", None),
            RunOutcome::Terminated { signal } => OutsideEnd::revoked("terminated", Some(*signal)),
            _ => return outcome,
        };
        // Whatever has terminated the run does not mean this.
        let unwatched = PoolSlot::unwatched(Arc::default());
        let slot = if matches!(outcome, RunOutcome::Terminated { .. }) { &unwatched } else { slot };
        match self.executor.conclude(ctx, &instead, slot).await {
            // It was retried, or had succeeded before its child died.
            Some(other @ (RunOutcome::Retried { .. } | RunOutcome::Success(_))) => return other,
            Some(_) => {}
            None => log::not_concluded(task_run),
        }
        outcome
    }
}

impl Executor {
    /// Lets a child do what follows a foreign task that has ended outside of its body. Returns what came of it, if it
    /// did.
    async fn conclude(&self, ctx: &Ctx, instead: &OutsideEnd, slot: &PoolSlot) -> Option<RunOutcome> {
        let task = ctx.task()?;
        let run = BodyRun { ctx, task, limits: Limits::NONE, slot, errback: None, instead: Some(instead) };
        let outcome = self.pools.of(task).run(run).await;
        ctx.handed_over().is_some().then_some(outcome)
    }
}
