//! Results that are larger than may be stored: what is stored in their place.

use crate::limits::result_size::{LargeResult, SizeCheck, size_of_failure};
use crate::pipeline::completion::{Completion, Instead};
use crate::pipeline::log;
use crate::pipeline::process::Process;
use crate::pipeline::task_run::{RunEnd, TaskRun};
use crate::pipeline::verdict::{FailureReason, Verdict};

impl Process {
    /// The verdict that holds where a result that is stored may not be as large as this one is.
    pub(crate) fn within_size(&self, task_run: &TaskRun, verdict: Verdict) -> Verdict {
        let size = match &verdict {
            Verdict::Succeeded(value) => value.as_bytes().len(),
            Verdict::Failed { failure, .. } => size_of_failure(failure),
            _ => return verdict,
        };
        match (self.result_sizes.check(size), verdict) {
            (SizeCheck::Fits, verdict) => verdict,
            (SizeCheck::Warn, verdict) => {
                log::large_result(task_run, size);
                verdict
            }
            (SizeCheck::Refuse, Verdict::Failed { failure, why }) => {
                let what = format!("the error {}", failure.exception().exc_type);
                Verdict::Failed { failure: self.result_sizes.failure(&what, size), why }
            }
            (SizeCheck::Refuse, _) => {
                let failure = self.result_sizes.failure("the result", size);
                Verdict::Failed { failure, why: FailureReason::TooLarge }
            }
        }
    }

    /// Says what is to be done where the store refuses the result for its size: the task has failed then. Only for a
    /// result that is large enough for that.
    pub(crate) fn provide_instead(
        &self,
        completion: &mut Completion,
        task_run: &TaskRun,
        verdict: &Verdict,
        end: RunEnd,
    ) -> Option<LargeResult> {
        let Verdict::Succeeded(value) = verdict else { return None };
        let large = LargeResult::new(value.as_bytes().len())?;
        let (refused, task_run) = (large.clone(), task_run.clone());
        let (follow, settler, observer) = (self.follow.clone(), self.settler.clone(), self.observer.clone());
        completion.instead = Some(Instead(Box::new(move |error| {
            let verdict = Verdict::Failed { failure: refused.set_refused(error), why: FailureReason::TooLarge };
            let (verdict, planned) = follow.plan(&task_run, verdict, &end);
            observer.end_of_run(&task_run, &verdict, end.took, end.now);
            settler.settle(&task_run, &verdict, planned, end)
        })));
        Some(large)
    }
}
