//! Bodies on threads: a plain `fn` always, an `async fn` in the pool `threads`.

use std::panic::AssertUnwindSafe;
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
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::limits::time_limit::Passed;
use crate::outcome::RunOutcome;
use crate::pool::body::{body, outcome_of};
use crate::pool::pool::{BodyRun, Pool};
use crate::pool::threads::{ThreadRun, Threads};
use crate::shutdown::cold::ColdStop;

/// How long a thread may take to drop an `async fn` before it is taken for blocked and replaced.
const LAST_AWAIT: Duration = Duration::from_millis(100);

/// Runs each body on a thread of the worker's own.
pub(crate) struct ThreadPool {
    threads: Threads,
    clock: Clock,
    cold: ColdStop,
}

impl Pool for ThreadPool {
    fn run<'a>(&'a self, run: BodyRun<'a>) -> BoxFuture<'a, RunOutcome> {
        Box::pin(self.run_body(run))
    }

    fn leaked(&self) -> usize {
        self.threads.leaked()
    }

    fn release(&self) {
        self.threads.release();
    }

    fn close(&self, deadline: Duration) {
        self.threads.close(deadline);
    }
}

impl ThreadPool {
    /// A pool of at most `most` threads, which enter `runtime`.
    pub(crate) fn new(most: usize, runtime: Handle, clock: Clock, cold: ColdStop) -> Self {
        Self { threads: Threads::new(most, runtime), clock, cold }
    }

    async fn run_body(&self, run: BodyRun<'_>) -> RunOutcome {
        let BodyRun { ctx, task, limits, .. } = run;
        if let Some(ended) = before_start(ctx, task).await {
            return ended;
        }
        // From before the thread begins, so that no moment of the run is left out.
        let mut deadlines = limits.deadlines(&self.clock);
        let (give_up, given_up) = oneshot::channel();
        let mut run = match self.start(ctx, task, given_up) {
            Ok(run) => run,
            Err(error) => return RunOutcome::Failure(Failure::from_error(error)),
        };
        let outcome = loop {
            let passed = tokio::select! {
                biased;
                ended = run.wait() => return outcome_of(ended),
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

    fn start(
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

/// `before_start` of a plain `fn`, which runs on the reactor as every hook does.
async fn before_start(ctx: &Ctx, task: &RegisteredTask) -> Option<RunOutcome> {
    let hook = task.hooks.before_start.as_ref().filter(|_| task.is_blocking())?;
    let started = AssertUnwindSafe(current::scope(ctx.clone(), hook(ctx.clone(), ()))).catch_unwind();
    match started.await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(RunOutcome::from(Err(error))),
        Err(panic) => Some(RunOutcome::of_panic(&*panic)),
    }
}
