//! The spine: a delivery's four stops, and nothing else.
//!
//! [`intake`](crate::pipeline::intake) ► [`executor`](crate::pipeline::executor) ► [`settle`](crate::pipeline::settle) ►
//! [`completer`](crate::pipeline::completer).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use apium_app::context::context::{Ctx, CtxParts};
use apium_app::context::limit_signal::LimitSignal;
use apium_app::context::state_map::StateMap;
use apium_transport::backend::backend::SharedBackend;
use apium_transport::broker::consumer::Delivery;
use apium_transport::broker::settlement::Acknowledgement;
use apium_transport::clock::Clock;
use jiff::Timestamp;
use tracing::Instrument as _;

use crate::limits::prefetch_window::Totals;
use crate::limits::time_limit::{Limits, UnseenSoftLimits};
use crate::outcome::RunOutcome;
use crate::pipeline::completer::{Completer, Completion, CompletionStatus};
use crate::pipeline::executor::Executor;
use crate::pipeline::finish::Finisher;
use crate::pipeline::hooks;
use crate::pipeline::intake::{Admission, Intake};
use crate::pipeline::log;
use crate::pipeline::run_queue::RunQueue;
use crate::pipeline::settle::{RunFacts, settle};
use crate::pipeline::task_run::{DeliverySource, TaskRun};
use crate::pipeline::verdict::Ended;
use crate::pool::watchdog::PollTimer;

/// What the four stops share.
pub(crate) struct Process {
    pub(crate) intake: Intake,
    pub(crate) run_queue: Arc<RunQueue>,
    pub(crate) executor: Executor,
    pub(crate) finisher: Finisher,
    pub(crate) completer: Completer,
    pub(crate) states: StateMap,
    pub(crate) backend: Option<SharedBackend>,
    pub(crate) clock: Clock,
    pub(crate) counts: Counts,
    pub(crate) unseen_soft_limits: UnseenSoftLimits,
}

/// What a worker did since it started.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Runs that ended, whatever their state.
    pub(crate) finished: AtomicU64,
    /// How long they took, all together, in nanoseconds.
    busy: AtomicU64,
    /// Runs that a cold stop gave up.
    pub(crate) cancelled: AtomicU64,
    /// Messages given back that were fetched and not begun.
    pub(crate) given_back: AtomicU64,
}

impl Counts {
    fn ended(&self, ended: &Ended, took: Duration) {
        match ended {
            Ended::Cancelled { .. } => _ = self.cancelled.fetch_add(1, Ordering::Relaxed),
            _ => {
                self.busy.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
                self.finished.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What the size of the prefetch goes by.
    pub(crate) fn totals(&self) -> Totals {
        let busy = Duration::from_nanos(self.busy.load(Ordering::Relaxed));
        Totals { finished: self.finished.load(Ordering::Relaxed), busy }
    }
}

impl Process {
    /// The first stop, for a batch: what may run is lined up, what may not is settled. Gives back what comes after the stop.
    #[must_use = "what comes after the stop is to be given back"]
    pub(crate) fn take_in(&self, deliveries: Vec<Delivery>, source: &Arc<DeliverySource>) -> Vec<TaskRun> {
        let _stop = tracing::trace_span!(target: "apium::walk", "process", deliveries = deliveries.len()).entered();
        let now = self.clock.now();
        let mut task_runs = Vec::with_capacity(deliveries.len());
        let (mut ends, mut late) = (Vec::new(), Vec::new());
        for delivery in deliveries {
            match self.intake.decide(delivery, source, now) {
                Admission::Run(task_run) => {
                    log::received(&task_run);
                    task_runs.push(task_run);
                }
                Admission::Delay(due, task_run) => late.extend(self.run_queue.push_delayed(due, task_run)),
                Admission::Expired(task_run) => ends.push(self.expired(&task_run, now)),
                Admission::Refuse(turned) => {
                    log::turned(&turned);
                    ends.push(turned.completion(source));
                }
            }
        }
        self.completer.submit_all(ends);
        late.extend(self.run_queue.push(task_runs));
        late
    }

    /// The other three stops, for one task in its slot.
    pub(crate) async fn run(&self, task_run: TaskRun, timer: Option<&PollTimer>) {
        let now = self.clock.now();
        if task_run.expires.is_some_and(|expires| expires <= now) {
            return self.completer.submit(self.expired(&task_run, now)).await;
        }
        if !self.accept(&task_run).await {
            return;
        }
        let limits = Limits::of(task_run.request.headers.timelimit, &task_run.task.effective);
        self.unseen_soft_limits.warn_if_unseen(&task_run.task, limits);
        let ctx = self.context(&task_run, limits);
        if let Some(timer) = timer {
            timer.works_on(&task_run.task.name, task_run.request.id());
        }
        let began = Instant::now();
        let span = log::span(&task_run.task.name, &task_run.request);
        let stop = tracing::trace_span!(target: "apium::walk", "executor");
        let outcome = self.executor.execute(&ctx, limits, timer).instrument(stop).instrument(span.clone()).await;
        let now = self.clock.now();
        let run = RunFacts { request: &task_run.request, task: &task_run.task, now };
        let verdict = settle(run, outcome, &mut fastrand::Rng::new());
        let (finish, verdict) = self.finisher.finish(&task_run, verdict, ctx.children(), now);
        let took = began.elapsed();
        self.counts.ended(&verdict.ending, took);
        log::ended(
            &task_run.task.name,
            &task_run.request,
            &verdict.ending,
            took,
            task_run.task.effective.resultrepr_maxsize,
        );
        if hooks::wanted(&task_run.task.hooks, &verdict.ending) {
            // Hooks see the state stored, and hold their slot as the body did.
            self.completer.submit_and_wait(finish).await;
            hooks::after(&task_run.task.hooks, &ctx, verdict.ending).instrument(span).await;
        } else {
            self.completer.submit(finish).await;
        }
    }

    /// The end of a work that came too late: REVOKED, and no trace of a run. Its delivery is still out, with early ack too.
    fn expired(&self, task_run: &TaskRun, now: Timestamp) -> Completion {
        let run = RunFacts { request: &task_run.request, task: &task_run.task, now };
        let verdict = settle(run, RunOutcome::Expired, &mut fastrand::Rng::new());
        let (mut finish, verdict) = self.finisher.finish(task_run, verdict, Vec::new(), now);
        finish.settlement.delivery = Some((task_run.receipt.clone(), Acknowledgement::Ack));
        self.counts.ended(&verdict.ending, Duration::ZERO);
        let longest = task_run.task.effective.resultrepr_maxsize;
        log::ended(&task_run.task.name, &task_run.request, &verdict.ending, Duration::ZERO, longest);
        finish
    }

    /// A slot accepts a work: with early ack it is settled now (law (b)), where it is tracked STARTED is stored. False when the
    /// message is another worker's meanwhile, or nobody knows: then it must not run here.
    async fn accept(&self, task_run: &TaskRun) -> bool {
        match self.finisher.start(task_run, self.clock.now()) {
            None => true,
            Some(start) => {
                self.completer.submit_and_wait(start).await == CompletionStatus::Settled || task_run.acks_late()
            }
        }
    }

    fn context(&self, task_run: &TaskRun, limits: Limits) -> Ctx {
        let own = self.finisher.backends.get(&task_run.task.name);
        Ctx::new(CtxParts {
            request: task_run.request.clone(),
            task: task_run.task.clone(),
            publisher: self.finisher.sender.publisher.clone(),
            backend: own.or(self.backend.as_ref()).cloned(),
            states: self.states.clone(),
            // A cold stop tells plain functions through the same signal.
            limits: if limits.is_none() && !task_run.task.is_blocking() {
                LimitSignal::never()
            } else {
                LimitSignal::new()
            },
            run: Some(task_run.version()),
        })
    }
}
