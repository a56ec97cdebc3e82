//! The second step: the body of a task runs in its pool, inside the layers, within its time limits, with panics caught.
//!
//! It uses no broker and no result backend. Its result is the outcome of the run.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use apium_app::context::context::Ctx;
use apium_app::failure::Failure;
use futures_util::FutureExt as _;
use tracing::Instrument as _;

use crate::layer::{Next, WorkLayer};
use crate::limits::time_limit::Limits;
use crate::outcome::RunOutcome;
use crate::pool::pool::BodyRun;
use crate::pool::pools::Pools;
use crate::pool::watchdog::PollTimer;

/// Runs task bodies.
#[derive(Clone)]
pub(crate) struct Executor {
    pub(crate) pools: Pools,
    pub(crate) layers: Vec<Arc<dyn WorkLayer>>,
}

impl Executor {
    /// Runs the task of `ctx`. Through `timer` the watchdog sees the polls of an `async fn`.
    pub(crate) async fn execute(&self, ctx: &Ctx, limits: Limits, timer: Option<&PollTimer>) -> RunOutcome {
        let Some(task) = ctx.task() else { return RunOutcome::Ignore };
        let step = tracing::trace_span!(target: "apium::walk", "execute");
        let run = self.pools.of(task).run(BodyRun { ctx, task, limits, timer }).instrument(step);
        let outcome = if self.layers.is_empty() {
            run.await
        } else {
            let layered = AssertUnwindSafe(Next::new(ctx, &self.layers, Box::pin(run)).run()).catch_unwind();
            layered.await.unwrap_or_else(|panic| RunOutcome::of_panic(&*panic))
        };
        judged(ctx, outcome)
    }
}

/// The outcome, with what the task's options (`autoretry_for`, `throws`, …) say about its failure. They match Rust
/// error types, so they must be asked before the failure is reduced to what is stored.
fn judged(ctx: &Ctx, outcome: RunOutcome) -> RunOutcome {
    let Some(task) = ctx.task() else { return outcome };
    let judge = |failure: Failure| {
        let judgement = task.judge(&failure);
        failure.judged(judgement)
    };
    match outcome {
        RunOutcome::Failure(failure) => RunOutcome::Failure(judge(failure)),
        RunOutcome::Retry(mut retry) => {
            retry.cause = retry.cause.map(judge);
            RunOutcome::Retry(retry)
        }
        outcome => outcome,
    }
}
