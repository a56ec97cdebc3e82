//! The spine: the six steps from a delivery to its acknowledgement, and nothing else.
//!
//! [intake](crate::pipeline::intake) ► [execute](crate::pipeline::executor) ► [decide](crate::pipeline::verdict) ►
//! [follow](crate::pipeline::follow) ► [settle](crate::pipeline::settle) ► [complete](crate::pipeline::completer)

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use apium_app::context::context::{Ctx, CtxParts};
use apium_app::context::limit_signal::LimitSignal;
use apium_app::context::state_map::StateMap;
use apium_transport::broker::consumer::Delivery;
use apium_transport::clock::Clock;
use futures_util::FutureExt as _;
use tracing::Instrument as _;

use crate::backends::Backends;
use crate::counts::Counts;
use crate::follow_up::failed_chords::fail_chords;
use crate::limits::aborts;
use crate::limits::result_size::{LargeResult, ResultSizes};
use crate::limits::time_limit::{Limits, UnseenSoftLimits};
use crate::observe::observer::Observer;
use crate::outcome::RunOutcome;
use crate::pipeline::completer::Completer;
use crate::pipeline::completion::{Completion, CompletionStatus, RefusedDelivery};
use crate::pipeline::errback_runner::ErrbackRunner;
use crate::pipeline::executor::Executor;
use crate::pipeline::follow::FollowUpPlanner;
use crate::pipeline::intake::{Admission, Intake};
use crate::pipeline::run_queue::RunQueue;
use crate::pipeline::settle::Settler;
use crate::pipeline::task_run::{DeliverySource, DeliveryState, RunEnd, SlotProgress, TaskRun};
use crate::pipeline::verdict::{FailureReason, Verdict, decide};
use crate::pipeline::{hooks, log};
use crate::pool::guard::{Panicked, guarded};
use crate::pool::pool::PoolSlot;
use crate::pool::running_app_code::RunningAppCode;
use crate::runs::registry::Runs;
use crate::runs::slot::ActiveRun;
use crate::runs::task_limits::TaskLimits;

/// The steps of a run, and what they share.
pub(crate) struct Process {
    pub(crate) intake: Intake,
    pub(crate) run_queue: Arc<RunQueue>,
    pub(crate) runs: Arc<Runs>,
    pub(crate) task_limits: Arc<TaskLimits>,
    pub(crate) executor: Executor,
    pub(crate) follow: Arc<FollowUpPlanner>,
    pub(crate) settler: Arc<Settler>,
    pub(crate) completer: Completer,
    pub(crate) backends: Arc<Backends>,
    pub(crate) states: StateMap,
    pub(crate) clock: Clock,
    pub(crate) counts: Counts,
    pub(crate) observer: Arc<Observer>,
    pub(crate) unseen_soft_limits: UnseenSoftLimits,
    pub(crate) result_sizes: ResultSizes,
    pub(crate) errbacks: ErrbackRunner,
    pub(crate) app_code: RunningAppCode,
}

/// A run whose body may begin.
pub(crate) struct RunStart {
    pub(crate) ctx: Ctx,
    pub(crate) limits: Limits,
    began: Instant,
    pub(crate) span: tracing::Span,
}

impl Process {
    /// Step 1, for a batch: what may run goes into the run queue, what may not is completed. Returns the runs that the
    /// closed queue did not accept.
    #[must_use = "runs that were not accepted are to be requeued"]
    pub(crate) fn take_in(&self, deliveries: Vec<Delivery>, source: &Arc<DeliverySource>) -> Vec<TaskRun> {
        let _stop = tracing::trace_span!(target: "apium::walk", "process", deliveries = deliveries.len()).entered();
        let now = self.clock.now();
        let mut task_runs = Vec::with_capacity(deliveries.len());
        let (mut completions, mut not_accepted) = (Vec::new(), Vec::new());
        for delivery in deliveries {
            let (receipt, queue) = (delivery.receipt.clone(), delivery.queue.clone());
            // The fetching loop calls this. A panic that nothing expects costs one message, and not the loop.
            let admission = guarded(|| self.intake.admit(delivery, source, now));
            match admission.unwrap_or_else(|panicked| Admission::Refuse(RefusedDelivery::panicked(receipt, &panicked)))
            {
                Admission::Run(task_run) => task_runs.push(task_run),
                Admission::Delay(due, task_run) => {
                    self.observer.received(&task_run);
                    not_accepted.extend(self.run_queue.push_delayed(due, task_run));
                }
                // A slot ends it, as the chord may have errbacks.
                Admission::Revoked(task_run, _)
                    if (task_run.is_part() || task_run.task.is_foreign()) && task_run.crashes == 0 =>
                {
                    not_accepted.extend(self.run_queue.push_without_run(task_run));
                }
                Admission::Revoked(task_run, why) => completions.push(self.revoke_at_intake(&task_run, why)),
                Admission::CrashLoop(task_run) => not_accepted.extend(self.run_queue.push_without_run(task_run)),
                Admission::Refuse(mut refused) => {
                    self.observer.refused(&refused, &queue);
                    // Where there is no backend the broker may be asked to store it, and would refuse.
                    let stores = self.backends.of(refused.task.as_deref().unwrap_or_default()).is_some();
                    refused.record = refused.record.filter(|_| stores);
                    completions.push(refused.completion(source));
                }
            }
        }
        if self.intake.broker_delays {
            let (near, far) = self.run_queue.take_far(task_runs);
            task_runs = near;
            completions.extend(far.into_iter().map(|(turn, task_run)| {
                log::waits_for_turn(&task_run, turn);
                Completion::delay(&task_run, turn)
            }));
        }
        task_runs.iter().for_each(|task_run| self.observer.received(task_run));
        self.completer.submit_all(completions);
        not_accepted.extend(self.run_queue.push(task_runs));
        not_accepted
    }

    /// Steps 2 to 6, for a run in its slot. Code of the app is guarded where it is called. A panic that comes all the
    /// same costs this run, and not the slot.
    pub(crate) async fn run(&self, task_run: &TaskRun, slot: &PoolSlot, progress: &SlotProgress) {
        let steps = AssertUnwindSafe(self.run_steps(task_run, slot, progress)).catch_unwind();
        let Err(panic) = steps.await else { return };
        let panicked = Panicked::of(&*panic);
        self.observer.panicked(task_run, &panicked);
        if !progress.is_concluded.swap(true, Ordering::Relaxed) {
            if let Some(failed) = self.settler.panicked(task_run, &panicked, self.clock.now()) {
                self.completer.submit_and_wait(failed).await;
            }
            self.completer.submit(Completion::panicked(task_run, &panicked)).await;
        }
    }

    async fn run_steps(&self, task_run: &TaskRun, slot: &PoolSlot, progress: &SlotProgress) {
        let Some(mut start) = self.start(task_run, slot).await else { return };
        let outcome = self.execute(task_run, &mut start, slot).await;
        let outcome = self.conclude_foreign(task_run, &start.ctx, outcome, slot).await;
        let (now, took) = (self.clock.now(), start.began.elapsed());
        let (children, unsent) = (start.ctx.children(), start.ctx.unsent_additions());
        let (delivery, span) = (task_run.delivery_in_run(), start.span.clone());
        let end = RunEnd { now, took, children, unsent, delivery, handed: start.ctx.handed_over(), span };
        let (mut completion, verdict) = self.conclude(task_run, outcome, end.clone());
        let large = self.provide_instead(&mut completion, task_run, &verdict, end);
        if completion.may_have_errbacks() {
            // In a box, since few runs have any: the future of a slot is smaller without it.
            completion = Box::pin(self.after_errbacks(task_run, completion)).await;
        }
        progress.is_concluded.store(true, Ordering::Relaxed);
        self.complete(task_run, completion, (verdict, large), start, progress).await;
    }

    /// Steps 3 to 5: what the outcome means, what follows, what is stored and how the delivery ends. Pure, but for
    /// counters and what the observer reports.
    pub(crate) fn conclude(&self, task_run: &TaskRun, outcome: RunOutcome, end: RunEnd) -> (Completion, Verdict) {
        let random = &mut self.clock.seed().map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let (now, took) = (end.now, end.took);
        let facts = task_run.facts(now);
        let mut verdict = decide(facts, outcome, random);
        if facts.stores_errors() {
            verdict = self.within_size(task_run, verdict);
        }
        let (verdict, planned) = self.follow.plan(task_run, verdict, &end);
        let completion = self.settler.settle(task_run, &verdict, planned, end);
        self.observer.leads_to(&completion.settlement);
        self.counts.add_run(&verdict, took);
        self.observer.end_of_run(task_run, &verdict, took, now);
        (completion, verdict)
    }

    /// Step 6, and the hooks. They run in the slot of the run, after its result is stored.
    async fn complete(
        &self,
        task_run: &TaskRun,
        completion: Completion,
        (mut verdict, large): (Verdict, Option<LargeResult>),
        start: RunStart,
        progress: &SlotProgress,
    ) {
        let hooks = &task_run.task.hooks;
        if hooks::wanted(hooks, &verdict) {
            self.completer.submit_and_wait(completion).await;
            if let Some(failure) = large.and_then(|large| large.failure()) {
                verdict = Verdict::Failed { failure, why: FailureReason::TooLarge };
            }
            self.app_code.run(hooks::after(hooks, &start.ctx, verdict).instrument(start.span)).await;
        } else {
            progress.frees_slot.store(true, Ordering::Relaxed);
            self.run_queue.ending.fetch_add(1, Ordering::Relaxed);
            self.completer.submit(completion).await;
        }
    }

    /// Calls the errbacks of a run that this worker calls itself, and those of the chords that fail with it, once its
    /// failure is stored and before its delivery is settled (the first law). Where a cold stop cancels them, a late-ack
    /// message goes back to its queue.
    pub(crate) async fn after_errbacks(&self, task_run: &TaskRun, completion: Completion) -> Completion {
        let Some(pending) = completion.errbacks.clone() else { return completion };
        // A run that was acked early is not delivered again: the store that ends its chord brings the errbacks.
        let fails_chords = pending.awaits_chords() && completion.settlement.delivery.is_some();
        if pending.awaits_chords() && !fails_chords {
            self.errbacks.wait_for_room().await;
        }
        if pending.is_empty() && !fails_chords {
            return completion;
        }
        if let Some(record) = completion.of_record() {
            self.completer.submit_and_wait(record).await;
        }
        if let (true, Some(follow_ups)) = (fails_chords, &completion.settlement.follow_ups) {
            let failed = self.completer.ask(|| fail_chords(self.backends.app(), follow_ups)).await;
            failed.unwrap_or_else(|error| log::chord_not_counted(task_run, &error));
        }
        for errback in pending.drain() {
            let is_called = self.app_code.run(self.errbacks.call(errback)).await;
            if !is_called && task_run.acks_late() {
                return Completion::requeue(task_run);
            }
        }
        completion
    }

    /// Starts a run: with early ack its delivery is acked (the second law), and STARTED is stored where that is
    /// tracked. `None` when it must not run: it kills workers, has expired or was aborted, or the early ack did not
    /// succeed, so that another worker may have the message.
    async fn start(&self, task_run: &TaskRun, slot: &PoolSlot) -> Option<RunStart> {
        let now = self.clock.now();
        if self.is_convicted(task_run) {
            let outcome = RunOutcome::CrashLoop { crashes: task_run.crashes };
            Box::pin(self.end_in_slot(task_run, outcome, DeliveryState::InFlight, slot)).await;
            return None;
        }
        if let Some(why) = self.intake.revocation(&task_run.request.headers, task_run.expires, now) {
            Box::pin(self.end_in_slot(task_run, why.into(), DeliveryState::InFlight, slot)).await;
            return None;
        }
        let settle_start = async {
            match self.settler.started(task_run, now) {
                Some(started) => self.completer.submit_and_wait(started).await,
                None => CompletionStatus::Settled,
            }
        };
        let (status, is_aborted) = match aborts::are_looked_for(&task_run.task) {
            true => tokio::join!(settle_start, self.is_aborted(task_run)),
            false => (settle_start.await, false),
        };
        if status != CompletionStatus::Settled && !task_run.acks_late() {
            return None;
        }
        if is_aborted {
            Box::pin(self.end_in_slot(task_run, RunOutcome::Aborted, task_run.delivery_in_run(), slot)).await;
            return None;
        }
        let limits = self.task_limits.of(task_run.request.headers.timelimit, &task_run.task);
        self.unseen_soft_limits.warn_if_unseen(&task_run.task, limits);
        let (request, task) = (task_run.request.clone(), task_run.task.clone());
        slot.slot.enter(ActiveRun { request, task, since: now, limits });
        self.observer.started(task_run);
        let span = log::span(&task_run.task.name, &task_run.request);
        Some(RunStart { ctx: self.context(task_run, limits), limits, began: Instant::now(), span })
    }

    /// Whether a run does not begin, since runs of its message have killed too many workers.
    pub(crate) fn is_convicted(&self, task_run: &TaskRun) -> bool {
        self.intake.is_crash_loop(task_run.crashes)
    }

    /// The context of a run.
    pub(crate) fn context(&self, task_run: &TaskRun, limits: Limits) -> Ctx {
        // A plain `fn` learns of a cold stop through the same signal, so it needs one even without limits.
        let needs_signal = !limits.is_none() || task_run.task.is_blocking();
        Ctx::new(CtxParts {
            request: task_run.request.clone(),
            task: task_run.task.clone(),
            publisher: self.settler.publisher.clone(),
            backend: self.backends.of(&task_run.task.name).cloned(),
            states: self.states.clone(),
            limits: if needs_signal { LimitSignal::new() } else { LimitSignal::never() },
            run: Some(task_run.version()),
            waits: self.app_code.waits.clone(),
        })
    }
}
