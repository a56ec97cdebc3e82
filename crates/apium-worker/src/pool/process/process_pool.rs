//! The pool that runs each body in a child process.

use std::time::Duration;

use apium_app::failure::Failure;
use futures_util::future::BoxFuture;
use rustix::process::Signal;

use crate::limits::stopped_time::RunClock;
use crate::limits::time_limit::Passed;
use crate::outcome::RunOutcome;
use crate::pool::pool::{BodyRun, Pool};
use crate::pool::process::child::{EndedRun, Flight};
use crate::pool::process::children::{Children, Lease};
use crate::pool::process::frame::{FrameKind, encode};
use crate::pool::process::messages::{RunNumber, run_frame};
use crate::runs::cancel::Cancelled;

/// How long a child has to say that it begins a run. It does nothing else meanwhile, so one that takes longer hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How many children may die before one of them begins a run. A run that kills them without a body is lost then.
const MOST_TRIES: u32 = 3;
/// How long a child has after the signal of a termination, and a run among others after it was told to end.
const END_GRACE: Duration = Duration::from_secs(1);

/// Runs each body in a child.
pub(crate) struct ProcessPool {
    children: Children,
    clock: RunClock,
}

/// What became of a run that a child got.
enum Tried {
    /// It is over.
    Over(RunOutcome),
    /// The child died before it began.
    NotBegun(String),
    /// The child died in this way while it ran.
    Lost(String),
    /// The same beside other runs, any of which may have killed the child.
    LostAmongOthers(String),
}

impl Pool for ProcessPool {
    fn run<'a>(&'a self, run: BodyRun<'a>) -> BoxFuture<'a, RunOutcome> {
        Box::pin(self.run_body(run))
    }

    fn judges(&self) -> bool {
        true
    }
}

impl ProcessPool {
    pub(crate) fn new(children: Children, clock: RunClock) -> Self {
        Self { children, clock }
    }

    /// Its children.
    pub(crate) fn children(&self) -> &Children {
        &self.children
    }

    async fn run_body(&self, run: BodyRun<'_>) -> RunOutcome {
        let cancel = &run.slot.slot.cancel;
        let mut alone = run.task.is_blocking();
        let mut tries = 0;
        loop {
            let lease = tokio::select! {
                biased;
                cancelled = cancel.cancelled() => return cancelled.into(),
                lease = self.children.acquire(alone) => lease,
            };
            // There are no more children when the worker has stopped.
            let Some(lease) = lease else { return RunOutcome::Cancelled };
            match self.run_in(lease, &run).await {
                Tried::Over(outcome) => return outcome,
                Tried::NotBegun(_) if tries + 1 < MOST_TRIES => tries += 1,
                // It is not known whether this run killed the child, and it may begin once more.
                Tried::LostAmongOthers(_) if run.task.effective.acks_late => alone = true,
                Tried::NotBegun(reason) | Tried::Lost(reason) | Tried::LostAmongOthers(reason) => {
                    return RunOutcome::Lost { reason };
                }
            }
        }
    }

    async fn run_in(&self, lease: Lease, run: &BodyRun<'_>) -> Tried {
        let number = self.children.next_run();
        let frame = match run_frame(number, run) {
            Ok(frame) => frame,
            Err(error) => {
                lease.over();
                return Tried::Over(RunOutcome::Failure(Failure::from_error(error)));
            }
        };
        let child = lease.child.clone();
        let mut flight = child.expect(number, run.ctx);
        let mut deadlines = run.limits.deadlines(&self.clock);
        let mut sent = std::pin::pin!(child.send(&frame));
        let mut is_sent = false;
        let mut answer = std::pin::pin!(tokio::time::sleep(ANSWER_TIMEOUT));
        let mut is_answered = false;
        let given_up = loop {
            tokio::select! {
                biased;
                ended = &mut flight.end_of_run => return match ended {
                    Ok(ended) => Tried::Over(over(lease, run, ended)),
                    Err(_) => lost(&lease, &flight, number),
                },
                // Where it cannot be sent, the child is gone, and this learns it soon.
                _ = &mut sent, if !is_sent => is_sent = true,
                () = &mut answer, if !is_answered => {
                    is_answered = true;
                    if !flight.has_begun() {
                        let pid = child.pid;
                        tracing::error!(pid, "child process {pid} has not begun a run after {} s, and is killed", ANSWER_TIMEOUT.as_secs());
                        self.children.spawner().kill(pid);
                    }
                }
                passed = deadlines.next() => match passed {
                    // Where it is no signal, the child keeps the soft limit itself.
                    Passed::Soft if run.task.is_foreign() => {
                        if flight.has_begun() {
                            self.children.spawner().signal(child.pid, Signal::USR1);
                        }
                    }
                    Passed::Soft => run.ctx.soft_limit().raise_soft(),
                    Passed::Hard => break RunOutcome::TimedOut(run.limits.hard.unwrap_or_default()),
                },
                cancelled = run.slot.slot.cancel.cancelled() => {
                    if let Cancelled::Terminated(signal) = cancelled {
                        let signal = Signal::from_named_raw(i32::from(signal.number()));
                        if !self.children.is_shared(&child) {
                            self.children.spawner().end(child.pid, signal, END_GRACE);
                        }
                    }
                    break cancelled.into();
                }
            }
        };
        // Beside other runs it is told to end, so that they go on. Alone, it dies with the lease.
        if self.children.is_shared(&child) {
            let told = async {
                if let Ok(cancel) = encode(FrameKind::Cancel, &RunNumber { run: number }, b"") {
                    // As above.
                    let _ = child.send(&cancel).await;
                }
                (&mut flight.end_of_run).await
            };
            if let Ok(Ok(_)) = tokio::time::timeout(END_GRACE, told).await {
                lease.over();
            }
        } else if matches!(given_up, RunOutcome::Terminated { .. }) {
            // It has its grace, and gets no more runs.
            lease.ending();
        }
        Tried::Over(given_up)
    }
}

/// What a run is whose child is gone.
fn lost(lease: &Lease, flight: &Flight<'_>, number: u64) -> Tried {
    let (exit, is_shared) = lease.child.exit().unwrap_or(("unknown", false));
    // Celery's text, with its number of the run in the pool.
    let reason = format!("Worker exited prematurely: {exit} Job: {number}.");
    match (flight.has_begun(), is_shared) {
        (false, _) => Tried::NotBegun(reason),
        (true, false) => Tried::Lost(reason),
        (true, true) => Tried::LostAmongOthers(reason),
    }
}

/// The outcome of a run that the child has ended. What it has sent is noted in its context.
fn over(lease: Lease, run: &BodyRun<'_>, ended: EndedRun) -> RunOutcome {
    lease.over();
    let EndedRun { mut head, value } = ended;
    for child in std::mem::take(&mut head.children) {
        run.ctx.add_children(child);
    }
    run.ctx.note_unsent(&head.unsent);
    if let Some(handed) = head.take_handed_over() {
        run.ctx.hand_over(handed);
    }
    match head.into_outcome(value).unwrap_or(RunOutcome::Cancelled) {
        // A child that could not do what follows could not reach a broker or a store.
        RunOutcome::Failure(failure) if is_undone(run, &failure) => RunOutcome::Unavailable(failure),
        outcome => outcome,
    }
}

/// Whether a foreign task has ended and nothing of what follows is done, so that its message is to come again.
fn is_undone(run: &BodyRun<'_>, failure: &Failure) -> bool {
    let is_refused = failure.judgement().is_some_and(|judgement| judgement.bad_arguments);
    let is_undone = run.task.is_foreign() && run.errback.is_none() && run.ctx.handed_over().is_none() && !is_refused;
    is_undone && run.task.effective.acks_late && run.instead.is_none()
}
