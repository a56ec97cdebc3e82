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
use apium_transport::broker::consumer::{Acknowledgement, Delivery};
use apium_transport::clock::Clock;
use jiff::Timestamp;
use tracing::Instrument as _;

use crate::limits::prefetch_window::Totals;
use crate::limits::time_limit::{DeafTasks, Limits};
use crate::outcome::Outcome;
use crate::pipeline::completer::{Completer, Done, Finish};
use crate::pipeline::executor::Executor;
use crate::pipeline::finish::Finisher;
use crate::pipeline::hooks;
use crate::pipeline::intake::{Intake, Step};
use crate::pipeline::log;
use crate::pipeline::run_queue::Ready;
use crate::pipeline::settle::{Run, settle};
use crate::pipeline::task_run::{Source, Work};
use crate::pipeline::verdict::Ended;
use crate::pool::watchdog::Beat;

/// What the four stops share.
pub(crate) struct Process {
    pub(crate) intake: Intake,
    pub(crate) ready: Arc<Ready>,
    pub(crate) executor: Executor,
    pub(crate) finisher: Finisher,
    pub(crate) completer: Completer,
    pub(crate) states: StateMap,
    pub(crate) backend: Option<SharedBackend>,
    pub(crate) clock: Clock,
    pub(crate) counts: Counts,
    pub(crate) deaf: DeafTasks,
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
    pub(crate) fn take_in(&self, deliveries: Vec<Delivery>, source: &Arc<Source>) -> Vec<Work> {
        let _stop = tracing::trace_span!(target: "apium::walk", "process", deliveries = deliveries.len()).entered();
        let now = self.clock.now();
        let mut works = Vec::with_capacity(deliveries.len());
        let (mut ends, mut late) = (Vec::new(), Vec::new());
        for delivery in deliveries {
            match self.intake.decide(delivery, source, now) {
                Step::Run(work) => {
                    log::received(&work);
                    works.push(work);
                }
                Step::Wait(due, work) => late.extend(self.ready.push_eta(due, work)),
                Step::Expired(work) => ends.push(self.expired(&work, now)),
                Step::End(turned) => {
                    log::turned(&turned);
                    ends.push(turned.finish(source));
                }
            }
        }
        self.completer.submit_all(ends);
        late.extend(self.ready.push(works));
        late
    }

    /// The other three stops, for one task in its slot.
    pub(crate) async fn run(&self, work: Work, beat: Option<&Beat>) {
        let now = self.clock.now();
        if work.expires.is_some_and(|expires| expires <= now) {
            return self.completer.submit(self.expired(&work, now)).await;
        }
        if !self.accept(&work).await {
            return;
        }
        let limits = Limits::of(work.request.headers.timelimit, &work.task.effective);
        self.deaf.look(&work.task, limits);
        let ctx = self.context(&work, limits);
        if let Some(beat) = beat {
            beat.works_on(&work.task.name, work.request.id());
        }
        let began = Instant::now();
        let span = log::span(&work.task.name, &work.request);
        let stop = tracing::trace_span!(target: "apium::walk", "executor");
        let outcome = self.executor.execute(&ctx, limits, beat).instrument(stop).instrument(span.clone()).await;
        let now = self.clock.now();
        let run = Run { request: &work.request, task: &work.task, now };
        let verdict = settle(run, outcome, &mut fastrand::Rng::new());
        let (finish, verdict) = self.finisher.finish(&work, verdict, ctx.children(), now);
        let took = began.elapsed();
        self.counts.ended(&verdict.ending, took);
        log::ended(&work.task.name, &work.request, &verdict.ending, took, work.task.effective.resultrepr_maxsize);
        if hooks::wanted(&work.task.hooks, &verdict.ending) {
            // Hooks see the state stored, and hold their slot as the body did.
            self.completer.settled(finish).await;
            hooks::after(&work.task.hooks, &ctx, verdict.ending).instrument(span).await;
        } else {
            self.completer.submit(finish).await;
        }
    }

    /// The end of a work that came too late: REVOKED, and no trace of a run. Its delivery is still out, with early ack too.
    fn expired(&self, work: &Work, now: Timestamp) -> Finish {
        let run = Run { request: &work.request, task: &work.task, now };
        let verdict = settle(run, Outcome::Expired, &mut fastrand::Rng::new());
        let (mut finish, verdict) = self.finisher.finish(work, verdict, Vec::new(), now);
        finish.settlement.delivery = Some((work.receipt.clone(), Acknowledgement::Ack));
        self.counts.ended(&verdict.ending, Duration::ZERO);
        let longest = work.task.effective.resultrepr_maxsize;
        log::ended(&work.task.name, &work.request, &verdict.ending, Duration::ZERO, longest);
        finish
    }

    /// A slot accepts a work: with early ack it is settled now (law (b)), where it is tracked STARTED is stored. False when the
    /// message is another worker's meanwhile, or nobody knows: then it must not run here.
    async fn accept(&self, work: &Work) -> bool {
        match self.finisher.start(work, self.clock.now()) {
            None => true,
            Some(start) => self.completer.settled(start).await == Done::Settled || work.is_late(),
        }
    }

    fn context(&self, work: &Work, limits: Limits) -> Ctx {
        let own = self.finisher.backends.get(&work.task.name);
        Ctx::new(CtxParts {
            request: work.request.clone(),
            task: work.task.clone(),
            publisher: self.finisher.sender.publisher.clone(),
            backend: own.or(self.backend.as_ref()).cloned(),
            states: self.states.clone(),
            // A cold stop tells plain functions through the same signal.
            limits: if limits.is_none() && !work.task.is_blocking() {
                LimitSignal::never()
            } else {
                LimitSignal::new()
            },
            run: Some(work.mark()),
        })
    }
}
