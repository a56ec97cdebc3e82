//! A worker that runs, and the order in which its services stop.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;

use crate::health::health::WorkerHealth;
use crate::health::probes::Probes;
use crate::observe::services::EventServices;
use crate::pipeline::completion::Completion;
use crate::pipeline::log;
use crate::pipeline::process::Process;
use crate::pipeline::task_run::TaskLabel;
use crate::pool::watchdog::Watchdog;
use crate::service::Service;
use crate::shutdown::faults::Faults;
use crate::shutdown::kind::StopKind;
use crate::shutdown::phase::Phase;
use crate::shutdown::report::StopReport;
use crate::shutdown::switch::{StopRequest, StopSwitch};
use crate::slots::Slots;

/// How long a cold stop waits for cancelled runs, and then for what they have to store and settle. What is not settled
/// by then is delivered again.
const COLD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long closing the consumer may take. What it has in flight goes back later by its lease.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long remote control has to end: for replies on their way, and for revokes that are not written.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a warm stop looks whether its runs wait for a store that is away.
const WAITS_INTERVAL: Duration = Duration::from_millis(100);

/// How long observers of the program have for what they were not told yet.
const OBSERVERS_TIMEOUT: Duration = Duration::from_secs(1);

/// The services of a worker that runs.
pub(crate) struct RunningWorker {
    pub(crate) process: Arc<Process>,
    pub(crate) slots: Slots,
    /// Starts and ends child processes, where there are any. It stops after all that runs in them.
    pub(crate) children: Vec<Service>,
    pub(crate) completer: Service,
    /// Calls errbacks. It stops after the completer, which adds errbacks until it ends.
    pub(crate) errbacks: Service,
    /// Promotes delayed and rate-limited runs when they are due.
    pub(crate) timer: Service,
    /// Changes the number of slots, in a worker that scales itself.
    pub(crate) autoscaler: Service,
    /// Looks for other workers of the same name.
    pub(crate) duplicate_node: Service,
    pub(crate) consume: Service,
    /// Does what remote commands ask.
    pub(crate) control: Service,
    /// Writes revokes for workers that start later.
    pub(crate) records: Service,
    /// Send events. They stop when nothing happens any more.
    pub(crate) events: EventServices,
    /// Show the health. They stop last.
    pub(crate) probes: Probes,
    pub(crate) health: Arc<WorkerHealth>,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) watchdog: Option<Watchdog>,
    pub(crate) switch: StopSwitch,
    pub(crate) faults: Faults,
    /// `worker_soft_shutdown_timeout`: how long a stop waits for runs before it cancels them. Without it a warm stop
    /// waits as long as they take, and a cold one not at all.
    pub(crate) soft_stop: Duration,
    /// `worker_settle_timeout`: how long a stop tries to settle without any success.
    pub(crate) settle_timeout: Duration,
}

impl RunningWorker {
    /// Runs until a stop is asked for, or a service ends; then stops.
    pub(crate) async fn serve(mut self) -> StopReport {
        let StopRequest { kind, cause } = self.requested_or_fault().await;
        tracing::info!(?kind, ?cause, "the worker stops");
        if kind == StopKind::Warm {
            log::waits_for_runs(&self.process.runs.active());
        }
        self.process.observer.shutting_down(kind);
        let counts = &self.process.counts;
        let before = counts.finished();
        let switch = self.switch.clone();
        let stopped = {
            let stopping = self.stop();
            tokio::select! {
                biased;
                _ = switch.requested(StopKind::Now) => None,
                () = stopping => Some(()),
            }
        };
        if stopped.is_none() {
            self.slots.abort().await;
            self.completer.abort().await;
            for task_run in self.process.run_queue.close() {
                self.process.completer.add_unsettled(&TaskLabel::of(&task_run.request));
            }
        }
        self.process.completer.close();
        let unsettled = self.process.completer.unsettled().iter().map(ToString::to_string).collect();
        let request = switch.requested(StopKind::Warm).await;
        let counts = &self.process.counts;
        let finished = counts.finished();
        let report = StopReport {
            finished,
            finished_while_stopping: finished - before,
            given_back: counts.requeued(),
            cancelled: counts.cancelled(),
            leaked_threads: self.process.executor.pools.leaked(),
            ..StopReport::new(request.kind, cause)
        };
        let report = report.with_unsettled(unsettled);
        self.close(report.how).await;
        tracing::info!("{report}");
        report
    }

    /// Waits until a stop is asked for. A service that ends before makes the worker unhealthy and stops it, since
    /// nobody would do its work.
    async fn requested_or_fault(&mut self) -> StopRequest {
        let (switch, faults) = (self.switch.clone(), self.faults.clone());
        let ended = async {
            tokio::select! {
                ended = self.slots.until_ended() => ended,
                ended = until_ended(&mut self.children) => ended,
                ended = self.completer.until_ended() => {
                    self.process.completer.close();
                    ended
                }
                ended = self.errbacks.until_ended() => ended,
                ended = self.timer.until_ended() => ended,
                ended = self.autoscaler.until_ended() => ended,
                ended = self.consume.until_ended() => ended,
                ended = self.duplicate_node.until_ended() => ended,
                ended = self.control.until_ended() => ended,
                ended = self.records.until_ended() => ended,
                ended = self.events.until_ended() => ended,
                ended = self.probes.until_ended() => ended,
            }
        };
        tokio::select! {
            biased;
            request = switch.requested(StopKind::Warm) => return request,
            () = faults.fatal() => {}
            ended = ended => faults.set_fatal("services", ended),
        }
        switch.fault();
        switch.requested(StopKind::Warm).await
    }

    /// Stops fetching, waits for the runs and for what they have to settle, and closes the consumer. It is dropped at
    /// an await point when the worker is to stop at once.
    async fn stop(&mut self) {
        self.phase.send_replace(Phase::Hold);
        self.requeue_waiting();
        self.stop_runs().await;
        // Late-ack runs that were being marked as started when the queue was closed are in it now.
        self.requeue_waiting();
        let (switch, completer) = (self.switch.clone(), self.process.completer.clone());
        tokio::select! {
            biased;
            () = self.completer.ask_and_join() => {}
            () = completer.stalled_for(self.settle_timeout) => self.give_up_settling().await,
            () = async { switch.requested(StopKind::Cold).await; tokio::time::sleep(COLD_TIMEOUT).await } => self.give_up_settling().await,
        }
        tokio::select! {
            biased;
            () = self.errbacks.ask_and_join() => {}
            () = tokio::time::sleep(self.settle_timeout) => self.give_up_errbacks().await,
            _ = switch.requested(StopKind::Cold) => self.give_up_errbacks().await,
        }
        self.phase.send_replace(Phase::Close);
        if !self.consume.join(Some(CLOSE_TIMEOUT)).await {
            tracing::warn!(
                "the consumer was not closed within {CLOSE_TIMEOUT:?}; what it has in flight is delivered again when its lease expires"
            );
        }
    }

    /// Waits for the runs, and cancels those for which it has waited long enough.
    async fn stop_runs(&mut self) {
        let (switch, process, soft) = (self.switch.clone(), self.process.clone(), self.soft_stop);
        let soft_stop = async {
            match soft.is_zero() {
                true => std::future::pending().await,
                false => process.clock.sleep(soft).await,
            }
        };
        let is_cold = tokio::select! {
            biased;
            () = self.slots.join() => return,
            _ = switch.requested(StopKind::Cold) => true,
            () = soft_stop => false,
            () = only_waits_for(&process, self.settle_timeout) => {
                tracing::warn!("the runs that are left wait for a broker or a store that is away; the worker stops without them");
                self.process.completer.stop_retrying();
                false
            }
        };
        if is_cold && !soft.is_zero() {
            tracing::info!(seconds = soft.as_secs_f64(), "runs may go on for this long before they are cancelled");
            tokio::select! {
                biased;
                () = self.slots.join() => return,
                () = process.clock.sleep(soft) => {}
            }
        }
        self.process.runs.cancel_all();
        if tokio::time::timeout(COLD_TIMEOUT, self.slots.join()).await.is_ok() {
            return;
        }
        // The runs that are left wait for a result that cannot be stored, or for a hook that does not end.
        self.process.completer.stop_retrying();
        if tokio::time::timeout(COLD_TIMEOUT, self.slots.join()).await.is_err() {
            tracing::warn!(
                "some runs did not end within {:?} after they were cancelled; the worker stops without them",
                2 * COLD_TIMEOUT
            );
            self.slots.abort().await;
        }
    }

    /// Ends the completer, whose stores are away. What it could not settle is named by the report.
    async fn give_up_settling(&mut self) {
        self.process.completer.stop_retrying();
        if tokio::time::timeout(COLD_TIMEOUT, self.completer.ask_and_join()).await.is_err() {
            self.completer.abort().await;
        }
    }

    /// Ends the errbacks of the background. Those of a run are called in its slot, and are not meant here.
    async fn give_up_errbacks(&mut self) {
        self.errbacks.abort().await;
        let waiting = self.process.errbacks.waiting();
        if waiting > 0 {
            tracing::warn!(waiting, "errbacks of failed chords were not called to their end");
        }
    }

    /// Requeues the runs that no slot has, without waiting for those that run: other workers can have them at once (the
    /// guarantee `warm-shutdown`).
    fn requeue_waiting(&self) {
        let waiting = self.process.run_queue.close();
        self.process.counts.add_requeued(waiting.len() as u64);
        self.process.completer.submit_all(waiting.iter().map(Completion::requeue));
    }

    /// Stops the services that are left. Nothing here takes long.
    async fn close(self, how: StopKind) {
        if how != StopKind::Now {
            let stopped = self.children.into_iter().map(|children| children.stop(None));
            futures_util::future::join_all(stopped).await;
        }
        self.timer.stop(None).await;
        self.autoscaler.stop(None).await;
        self.duplicate_node.stop(Some(Duration::ZERO)).await;
        let patience = if how == StopKind::Now { Duration::ZERO } else { CONTROL_TIMEOUT };
        self.control.stop(Some(patience)).await;
        self.records.stop(Some(patience)).await;
        self.probes.stop().await;
        if how == StopKind::Now {
            // Dropping a service aborts it.
            return;
        }
        self.events.stop().await;
        self.process.observer.shutdown(OBSERVERS_TIMEOUT).await;
        if let Some(watchdog) = self.watchdog {
            watchdog.stop();
        }
        let pools = self.process.executor.pools.clone();
        // The threads are idle now. Abandoned ones are not waited for.
        let closed = tokio::task::spawn_blocking(move || pools.close(Duration::from_secs(1))).await;
        if closed.is_err() {
            tracing::warn!("could not end the threads of the worker's pools");
        }
    }
}

/// Waits until one of these services ends.
async fn until_ended(services: &mut [Service]) -> String {
    let mut ended: FuturesUnordered<_> = services.iter_mut().map(Service::until_ended).collect();
    match ended.next().await {
        Some(ended) => ended,
        None => std::future::pending().await,
    }
}

/// Waits until for this long the runs that are left did nothing but wait: for a broker or a store in the code of the
/// app, or for the completer, which does nothing either.
async fn only_waits_for(process: &Process, span: Duration) {
    loop {
        while !process.app_code.only_waits() {
            tokio::time::sleep(WAITS_INTERVAL).await;
        }
        let works = async {
            while process.app_code.only_waits() {
                tokio::time::sleep(WAITS_INTERVAL).await;
            }
        };
        tokio::select! {
            () = works => {}
            () = process.completer.stalled_for(span) => return,
        }
    }
}
