//! The second stop: a task's body runs, with its context, its limits, its layers and a guard against panics.
//!
//! It talks to no broker and no backend; how the run ended is all that it gives.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use apium_app::context::context::Ctx;
use apium_app::context::current;
use apium_app::failure::Failure;
use apium_app::task::registered::{RegisteredTask, TaskBody};
use apium_app::task_error::TaskResult;
use apium_protocol::json::text::Json;
use apium_transport::clock::Clock;
use futures_util::FutureExt as _;
use tokio::sync::oneshot;
use tracing::Instrument as _;

use crate::layer::{Next, WorkLayer};
use crate::limits::time_limit::{Limits, Passed};
use crate::outcome::RunOutcome;
use crate::pool::kind::PoolKind;
use crate::pool::threads::{ThreadRun, Threads};
use crate::pool::watchdog::{PollTimer, TimedPoll};
use crate::shutdown::cold::ColdStop;

/// Runs task bodies.
#[derive(Clone)]
pub(crate) struct Executor {
    pub(crate) pool: PoolKind,
    pub(crate) threads: Threads,
    pub(crate) clock: Clock,
    pub(crate) layers: Vec<Arc<dyn WorkLayer>>,
    pub(crate) cold: ColdStop,
}

/// How long a thread may take to drop an `async fn` before it is taken for blocked and replaced.
const LAST_AWAIT: Duration = Duration::from_millis(100);

type BodyResult = std::thread::Result<TaskResult<Json>>;

impl Executor {
    /// Runs the task of `ctx` within `limits`. `beat` tells the watchdog what the reactor is busy with.
    pub(crate) async fn execute(&self, ctx: &Ctx, limits: Limits, timer: Option<&PollTimer>) -> RunOutcome {
        let step = tracing::trace_span!(target: "apium::walk", "execute");
        let run = self.run(ctx, limits, timer).instrument(step);
        let outcome = if self.layers.is_empty() {
            run.await
        } else {
            let layered = AssertUnwindSafe(Next::new(ctx, &self.layers, Box::pin(run)).run()).catch_unwind();
            layered.await.unwrap_or_else(|panic| RunOutcome::of_panic(&*panic))
        };
        judged(ctx, outcome)
    }

    async fn run(&self, ctx: &Ctx, limits: Limits, timer: Option<&PollTimer>) -> RunOutcome {
        let Some(task) = ctx.task() else { return RunOutcome::Ignore };
        match (&task.runner, self.pool) {
            (TaskBody::Async(_), PoolKind::Async | PoolKind::Solo) => self.on_reactor(ctx, task, limits, timer).await,
            _ => self.on_thread(ctx, task, limits).await,
        }
    }

    /// An `async fn` on tokio. It can be given up at any await point by dropping it.
    async fn on_reactor(
        &self,
        ctx: &Ctx,
        task: &Arc<RegisteredTask>,
        limits: Limits,
        timer: Option<&PollTimer>,
    ) -> RunOutcome {
        let body = pin!(AssertUnwindSafe(current::scope(ctx.clone(), body(ctx.clone(), task.clone()))).catch_unwind());
        let mut body = TimedPoll { timer, future: body };
        if limits.is_none() {
            return tokio::select! {
                biased;
                ended = &mut body => of(ended),
                () = self.cold.wait() => RunOutcome::Cancelled,
            };
        }
        let mut deadlines = limits.deadlines(&self.clock);
        loop {
            let passed = tokio::select! {
                biased;
                ended = &mut body => return of(ended),
                passed = deadlines.next(&self.clock) => passed,
                () = self.cold.wait() => return RunOutcome::Cancelled,
            };
            match passed {
                // Who looks at the signal decides what to do about it; who does not is stopped here.
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

    /// A task on a thread: a plain `fn`, or an `async fn` of the pool `threads`.
    async fn on_thread(&self, ctx: &Ctx, task: &Arc<RegisteredTask>, limits: Limits) -> RunOutcome {
        if let Some(ended) = self.before_on_thread(ctx, task).await {
            return ended;
        }
        // From before the thread begins, so that no moment of the run is left out.
        let mut deadlines = limits.deadlines(&self.clock);
        let (give_up, given_up) = oneshot::channel();
        let mut run = match self.start_on_thread(ctx, task, given_up) {
            Ok(run) => run,
            Err(error) => return RunOutcome::Failure(Failure::from_error(error)),
        };
        let outcome = loop {
            let passed = tokio::select! {
                biased;
                ended = run.wait() => return of(ended),
                passed = deadlines.next(&self.clock) => passed,
                () = self.cold.wait() => break RunOutcome::Cancelled,
            };
            match passed {
                // An `async fn` that does not look at the signal ends at its await point, as on the reactor.
                Passed::Soft => {
                    ctx.soft_limit().raise_soft();
                    if !task.is_blocking() && !ctx.soft_limit().is_observed() {
                        break RunOutcome::Failure(Failure::soft_time_limit());
                    }
                }
                Passed::Hard => break RunOutcome::TimedOut(limits.hard.unwrap_or_default()),
            }
        };
        ctx.soft_limit().raise_hard();
        // An `async fn` is dropped at its next await point; a plain `fn` goes on until it looks at its context or ends.
        let dropped = give_up.send(()).is_ok() && !task.is_blocking();
        if !dropped || tokio::time::timeout(LAST_AWAIT, run.wait()).await.is_err() {
            run.abandon();
        }
        outcome
    }

    /// `before_start` of a plain `fn`, which runs on the reactor as every hook does.
    async fn before_on_thread(&self, ctx: &Ctx, task: &RegisteredTask) -> Option<RunOutcome> {
        let hook = task.hooks.before_start.as_ref().filter(|_| task.is_blocking())?;
        let started = AssertUnwindSafe(current::scope(ctx.clone(), hook(ctx.clone(), ()))).catch_unwind();
        match started.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(RunOutcome::from(Err(error))),
            Err(panic) => Some(RunOutcome::of_panic(&*panic)),
        }
    }

    fn start_on_thread(
        &self,
        ctx: &Ctx,
        task: &Arc<RegisteredTask>,
        given_up: oneshot::Receiver<()>,
    ) -> std::io::Result<ThreadRun<TaskResult<Json>>> {
        let ctx = ctx.clone();
        match &task.runner {
            TaskBody::Blocking(run) => {
                let run = run.clone();
                self.threads.run(move || current::enter(ctx.clone(), || run(ctx)))
            }
            TaskBody::Async(_) => {
                let (task, runtime) = (task.clone(), tokio::runtime::Handle::current());
                self.threads.run(move || {
                    let body = current::scope(ctx.clone(), body(ctx, task));
                    runtime.block_on(async {
                        tokio::select! {
                            biased;
                            ended = body => ended,
                            // Nobody looks at the value of a run that was given up.
                            Ok(()) = given_up => Err(Failure::soft_time_limit().into()),
                        }
                    })
                })
            }
        }
    }
}

/// The body of an `async fn` with `before_start` in front, which may fail it.
async fn body(ctx: Ctx, task: Arc<RegisteredTask>) -> TaskResult<Json> {
    if let Some(hook) = &task.hooks.before_start {
        hook(ctx.clone(), ()).await?;
    }
    match &task.runner {
        TaskBody::Async(run) => run(ctx).await,
        TaskBody::Blocking(run) => run(ctx),
    }
}

/// The outcome, with what the task's options say about its failure: they look at Rust error types, and only here is one at hand.
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

fn of(ended: BodyResult) -> RunOutcome {
    match ended {
        Ok(result) => result.into(),
        Err(panic) => RunOutcome::of_panic(&*panic),
    }
}
