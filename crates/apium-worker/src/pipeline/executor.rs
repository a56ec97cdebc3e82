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
use crate::pool::guard::guarded;
use crate::pool::pool::{BodyRun, PoolSlot};
use crate::pool::pools::Pools;

/// Runs task bodies.
#[derive(Clone)]
pub(crate) struct Executor {
    pub(crate) pools: Pools,
    pub(crate) layers: Vec<Arc<dyn WorkLayer>>,
}

impl Executor {
    /// Runs the task of `ctx` in `slot`.
    pub(crate) async fn execute(&self, ctx: &Ctx, limits: Limits, slot: &PoolSlot) -> RunOutcome {
        let Some(task) = ctx.task() else { return RunOutcome::Ignore };
        self.run(BodyRun { ctx, task, limits, slot, errback: None, instead: None }).await
    }

    /// Runs a task as `run` says.
    pub(crate) async fn run(&self, run: BodyRun<'_>) -> RunOutcome {
        let BodyRun { ctx, slot, .. } = run;
        let step = tracing::trace_span!(target: "apium::walk", "execute");
        let pool = self.pools.of(run.task);
        let run = pool.run(run).instrument(step);
        let layered = async {
            match self.layers.is_empty() {
                true => run.await,
                false => Next::new(ctx, &self.layers, Box::pin(run)).run().await,
            }
        };
        // The pool catches the panics of the body itself. These are panics of a layer, or of what the body dropped.
        let outcome = AssertUnwindSafe(layered).catch_unwind().await;
        slot.slot.cancel.end();
        judged(ctx, pool.judges(), outcome.unwrap_or_else(|panic| RunOutcome::of_panic(&*panic)))
    }
}

/// The outcome, with what the task's options (`autoretry_for`, `throws`, …) say about its failure. They match Rust
/// error types, so they must be asked before the failure is reduced to what is stored. A failure that says that a
/// broker or a store is away is none of the task's, where its message can go back. What a pool has judged stays so.
fn judged(ctx: &Ctx, by_pool: bool, outcome: RunOutcome) -> RunOutcome {
    let Some(task) = ctx.task() else { return outcome };
    let judge = |failure: Failure| match failure.judgement() {
        Some(_) if by_pool => failure,
        _ => {
            let judgement = task.judge(&failure);
            failure.judged(judgement)
        }
    };
    let goes_back = |failure: &Failure| {
        // `source` of an error is code of the app.
        task.effective.acks_late && !ctx.is_eager() && guarded(|| failure.is_outage()).unwrap_or(false)
    };
    match outcome {
        RunOutcome::Failure(failure) if goes_back(&failure) => RunOutcome::Unavailable(failure),
        RunOutcome::Failure(failure) => RunOutcome::Failure(judge(failure)),
        RunOutcome::Retry(mut retry) => {
            retry.cause = retry.cause.map(judge);
            RunOutcome::Retry(retry)
        }
        outcome => outcome,
    }
}
