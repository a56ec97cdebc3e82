//! Runs whose child process has died: whether they begin again, and what their end means.

use apium_app::context::request::RetryRequest;
use apium_app::failure::Failure;
use apium_app::retry::policy::{RetryPlan, RetryWish, decide_retry};
use apium_protocol::result::exception::ExceptionInfo;
use fastrand::Rng;
use tracing::Instrument as _;

use crate::outcome::RunOutcome;
use crate::pipeline::log;
use crate::pipeline::process::{Process, RunStart};
use crate::pipeline::task_run::TaskRun;
use crate::pipeline::verdict::{FailureReason, RunFacts, Verdict};
use crate::pool::pool::PoolSlot;

impl Process {
    /// Step 2. A run whose child process dies begins again where its task wants that (`reject_on_worker_lost`), until
    /// it has killed as many as a message may kill workers. It stays in its slot, so that its children are counted.
    /// Where they are not, its message goes back to its queue.
    pub(crate) async fn execute(&self, task_run: &TaskRun, start: &mut RunStart, slot: &PoolSlot) -> RunOutcome {
        let mut crashes = task_run.crashes;
        loop {
            let body = self.executor.execute(&start.ctx, start.limits, slot).instrument(start.span.clone());
            let outcome = self.app_code.run(body).await;
            let RunOutcome::Lost { reason } = &outcome else { return outcome };
            if !task_run.begins_again() || self.intake.max_crashes == 0 {
                return outcome;
            }
            log::lost(task_run, reason);
            crashes += 1;
            if self.intake.is_crash_loop(crashes) {
                return RunOutcome::CrashLoop { crashes };
            }
            start.ctx = self.context(&task_run.redelivered(), start.limits);
            slot.slot.cancel.begin();
        }
    }
}

impl RunFacts<'_> {
    /// As in Celery a lost run is retried or put back where the options want that, and has failed otherwise.
    pub(crate) fn lost(self, reason: &str, random: &mut Rng) -> Verdict {
        let failure = Failure::from_exception(ExceptionInfo::worker_lost(reason));
        let options = &self.task.effective;
        // The message of a foreign task is its child's.
        if options.retry_on_worker_lost && !self.task.is_foreign() {
            let mut wishes = RetryRequest::default();
            wishes.cause = Some(failure.clone());
            let wish = RetryWish::Asked(&wishes);
            if let RetryPlan::Retry(next) = decide_retry(self.request, self.task, wish, self.now, random) {
                return Verdict::Retry(next);
            }
        } else if options.acks_late && options.reject_on_worker_lost {
            return Verdict::Rejected { reason: reason.to_owned(), requeue: true };
        }
        Verdict::Failed { failure, why: FailureReason::Lost }
    }
}
