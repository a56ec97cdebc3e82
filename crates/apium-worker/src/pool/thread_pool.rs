//! The pool that runs bodies on threads: every plain `fn`, and in the pool kind `threads` every `async fn` too.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use apium_app::context::context::Ctx;
use apium_app::context::current;
use apium_app::failure::Failure;
use apium_app::task::registered::{RegisteredTask, TaskBody};
use apium_app::task_error::TaskResult;
use apium_protocol::json::text::Json;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::limits::stopped_time::RunClock;
use crate::limits::time_limit::Passed;
use crate::outcome::RunOutcome;
use crate::pool::body::{body, foreign, on_replace, outcome_of};
use crate::pool::panics::with_place;
use crate::pool::pool::{BodyRun, Pool};
use crate::pool::threads::{LeakCeiling, ThreadRun, Threads};

/// How long the thread of a cancelled `async fn` has to reach an await point. After that it counts as blocked, and is
/// replaced.
const DROP_TIMEOUT: Duration = Duration::from_millis(100);
/// How long a plain `fn` that was terminated has to see that in its context and return, before its thread is abandoned.
const TERMINATE_GRACE: Duration = Duration::from_secs(1);

/// Runs each body on one of the worker's own threads.
pub(crate) struct ThreadPool {
    threads: Threads,
    clock: RunClock,
}

impl Pool for ThreadPool {
    fn run<'a>(&'a self, run: BodyRun<'a>) -> BoxFuture<'a, RunOutcome> {
        Box::pin(self.run_body(run))
    }

    fn leaked(&self) -> usize {
        self.threads.leaked()
    }

    fn set_max(&self, threads: usize) {
        self.threads.set_max(threads);
    }

    fn release(&self) {
        self.threads.release();
    }

    fn close(&self, timeout: Duration) {
        self.threads.close(timeout);
    }
}

impl ThreadPool {
    /// A pool of at most `max` threads, inside which `runtime` is the current one.
    pub(crate) fn new(max: usize, runtime: Handle, clock: RunClock, ceiling: LeakCeiling) -> Self {
        Self { threads: Threads::new(max, runtime, ceiling), clock }
    }

    async fn run_body(&self, run: BodyRun<'_>) -> RunOutcome {
        let BodyRun { ctx, task, limits, slot, .. } = run;
        if let Some(outcome) = before_start(ctx, task).await {
            return outcome;
        }
        // Read before the thread begins, so that all of the run counts.
        let mut deadlines = limits.deadlines(&self.clock);
        let (cancel, cancelled) = oneshot::channel();
        let mut run = match self.start(ctx, task, cancelled) {
            Ok(run) => run,
            Err(error) => return RunOutcome::Failure(Failure::from_error(error)),
        };
        let outcome = loop {
            let passed = tokio::select! {
                biased;
                returned = run.wait() => return ended(ctx, task, returned).await,
                passed = deadlines.next() => passed,
                cancelled = slot.slot.cancel.cancelled() => break cancelled.into(),
            };
            match passed {
                // An `async fn` that does not observe the signal is dropped at its await point, as on the reactor. A
                // plain `fn` cannot be: it learns of the limit from its context.
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
        // An `async fn` is dropped at its next await point. A plain `fn` goes on until it checks its context, or
        // returns.
        let dropped = cancel.send(()).is_ok() && !task.is_blocking();
        let grace = match outcome {
            _ if dropped => DROP_TIMEOUT,
            RunOutcome::Terminated { .. } => TERMINATE_GRACE,
            _ => Duration::ZERO,
        };
        if grace.is_zero() || tokio::time::timeout(grace, run.wait()).await.is_err() {
            run.abandon();
            if matches!(outcome, RunOutcome::TimedOut(_) | RunOutcome::Terminated { .. }) {
                self.threads.report_leaks();
            }
        }
        outcome
    }

    /// Starts the body on a thread. When `cancelled` gets a value, an `async fn` is dropped.
    fn start(
        &self,
        ctx: &Ctx,
        task: &Arc<RegisteredTask>,
        cancelled: oneshot::Receiver<()>,
    ) -> std::io::Result<ThreadRun<TaskResult<Json>>> {
        let ctx = ctx.clone();
        match &task.runner {
            TaskBody::Blocking(run) => {
                let run = run.clone();
                self.threads.run(move || with_place(|| current::enter(ctx.clone(), || run(ctx))))
            }
            TaskBody::Foreign { .. } => self.threads.run(|| Err(foreign())),
            TaskBody::Async(_) => {
                let (task, runtime) = (task.clone(), tokio::runtime::Handle::current());
                self.threads.run(move || {
                    let body = current::scope(ctx.clone(), body(ctx, task));
                    let run = async {
                        tokio::select! {
                            biased;
                            returned = body => returned,
                            // Nobody reads what a cancelled body returns.
                            Ok(()) = cancelled => Err(Failure::soft_time_limit().into()),
                        }
                    };
                    with_place(|| runtime.block_on(run))
                })
            }
        }
    }
}

/// The outcome of a body that returned, or panicked. A plain `fn` that replaced its task gets its `on_replace` here, as
/// it gets `before_start`; the thread of an `async fn` has run it.
async fn ended(ctx: &Ctx, task: &RegisteredTask, returned: std::thread::Result<TaskResult<Json>>) -> RunOutcome {
    match returned {
        Ok(returned @ Err(_)) if task.is_blocking() && task.hooks.on_replace.is_some() => {
            let hook = current::scope(ctx.clone(), on_replace(ctx.clone(), task, returned));
            outcome_of(AssertUnwindSafe(hook).catch_unwind().await)
        }
        returned => outcome_of(returned),
    }
}

/// Runs `before_start` of a plain `fn`. Hooks are async, so it runs on the reactor and not on the thread. `Some` when
/// it ended the task.
async fn before_start(ctx: &Ctx, task: &RegisteredTask) -> Option<RunOutcome> {
    let hook = task.hooks.before_start.as_ref().filter(|_| task.is_blocking())?;
    let started = AssertUnwindSafe(current::scope(ctx.clone(), async { hook(ctx.clone(), ()).await })).catch_unwind();
    match started.await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(RunOutcome::from(Err(error))),
        Err(panic) => Some(RunOutcome::of_panic(&*panic)),
    }
}
