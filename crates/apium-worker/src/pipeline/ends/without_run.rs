//! Ends of runs that do not begin: they were revoked or aborted, have expired, or kill their workers.

use std::time::Duration;

use apium_app::context::handed_over::HandedOver;

use crate::limits::aborts;
use crate::limits::time_limit::Limits;
use crate::outcome::RunOutcome;
use crate::pipeline::completion::Completion;
use crate::pipeline::log;
use crate::pipeline::process::Process;
use crate::pipeline::task_run::{DeliveryState, RunEnd, TaskRun};
use crate::pool::guard::guarded;
use crate::pool::pool::PoolSlot;
use crate::runs::revoke_reason::RevokeReason;

impl Process {
    /// Whether a task was aborted, as far as its result backend can say.
    pub(crate) async fn is_aborted(&self, task_run: &TaskRun) -> bool {
        let backend = self.backends.of(&task_run.task.name);
        aborts::is_aborted(backend, task_run.request.id()).await.unwrap_or_else(|error| {
            log::abort_not_read(task_run, &error);
            false
        })
    }

    /// Ends a run at the intake that has expired or was revoked. A panic costs this run, and not the fetching loop.
    pub(crate) fn revoke_at_intake(&self, task_run: &TaskRun, why: RevokeReason) -> Completion {
        guarded(|| self.end_without_run(task_run, why.into(), DeliveryState::InFlight, None))
            .unwrap_or_else(|panicked| Completion::panicked(task_run, &panicked))
    }

    /// Ends a run that has a slot and does not begin.
    pub(crate) async fn end_in_slot(
        &self,
        task_run: &TaskRun,
        mut outcome: RunOutcome,
        delivery: DeliveryState,
        slot: &PoolSlot,
    ) {
        let mut handed = None;
        if task_run.task.is_foreign() {
            let ctx = self.context(task_run, Limits::NONE);
            outcome = self.conclude_foreign(task_run, &ctx, outcome, slot).await;
            handed = ctx.handed_over();
        }
        let completion = self.end_without_run(task_run, outcome, delivery, handed);
        let completion = self.after_errbacks(task_run, completion).await;
        self.completer.submit(completion).await;
    }

    /// Ends a run that does not begin.
    fn end_without_run(
        &self,
        task_run: &TaskRun,
        outcome: RunOutcome,
        delivery: DeliveryState,
        handed: Option<HandedOver>,
    ) -> Completion {
        let (now, took, span) = (self.clock.now(), Duration::ZERO, tracing::Span::none());
        let end = RunEnd { now, took, children: Vec::new(), unsent: Vec::new(), delivery, handed, span };
        self.conclude(task_run, outcome, end).0
    }
}
