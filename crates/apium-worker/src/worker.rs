//! A worker that runs, and the order in which its services stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::health::health::WorkerHealth;
use crate::health::probes::Probes;
use crate::pipeline::completion::Completion;
use crate::pipeline::process::Process;
use crate::pool::watchdog::Watchdog;
use crate::service::Service;
use crate::shutdown::cold::ColdStopSwitch;
use crate::shutdown::kind::StopKind;
use crate::shutdown::phase::Phase;
use crate::shutdown::report::StopReport;
use crate::shutdown::switch::{StopRequest, StopSwitch};
use crate::slots::Slots;

/// How long a cold stop waits for cancelled runs, and then for what they have to store and settle. What is not settled
/// by then is delivered again.
const COLD_TIMEOUT: Duration = Duration::from_secs(5);

/// The services of a worker that runs.
pub(crate) struct RunningWorker {
    pub(crate) process: Arc<Process>,
    pub(crate) slots: Slots,
    pub(crate) completer: Service,
    /// Calls errbacks. It stops after the completer, which adds errbacks until it ends.
    pub(crate) errbacks: Service,
    /// Promotes delayed and rate-limited runs when they are due.
    pub(crate) timer: Service,
    /// Looks for other workers of the same name.
    pub(crate) duplicate_node: Service,
    pub(crate) consume: Service,
    /// Show the health. They stop last.
    pub(crate) probes: Probes,
    pub(crate) health: Arc<WorkerHealth>,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) cold: ColdStopSwitch,
    pub(crate) watchdog: Option<Watchdog>,
    pub(crate) switch: StopSwitch,
    /// `worker_soft_shutdown_timeout`: how long a cold stop waits for runs before it cancels them.
    pub(crate) soft_stop: Duration,
}

impl RunningWorker {
    /// Runs until a stop is asked for, then stops.
    pub(crate) async fn serve(mut self) -> StopReport {
        let StopRequest { kind, cause } = self.switch.requested(StopKind::Warm).await;
        tracing::info!(?kind, ?cause, "the worker stops");
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
            self.slots.abort();
        }
        let request = switch.requested(StopKind::Warm).await;
        let counts = &self.process.counts;
        let finished = counts.finished();
        let report = StopReport {
            how: request.kind,
            cause,
            finished,
            finished_while_stopping: finished - before,
            given_back: counts.requeued(),
            cancelled: counts.cancelled(),
            leaked_threads: self.process.executor.pools.leaked(),
            unsettled: self.process.completer.pending(),
        };
        self.close(report.how).await;
        tracing::info!("{report}");
        report
    }

    /// Stops fetching, waits for the runs and for what they have to settle, and closes the consumer. It is dropped at
    /// an await point when the worker is to stop at once.
    async fn stop(&mut self) {
        self.phase.send_replace(Phase::Hold);
        self.requeue_waiting();
        let switch = self.switch.clone();
        tokio::select! {
            biased;
            () = self.slots.join() => {}
            _ = switch.requested(StopKind::Cold) => self.stop_cold().await,
        }
        // Late-ack runs that were being marked as started when the queue was closed are in it now.
        self.requeue_waiting();
        let settled = self.completer.ask_and_join();
        tokio::pin!(settled);
        tokio::select! {
            biased;
            () = &mut settled => {}
            () = async { switch.requested(StopKind::Cold).await; tokio::time::sleep(COLD_TIMEOUT).await } => {
                self.process.completer.stop_retrying();
                settled.await;
            }
        }
        self.phase.send_replace(Phase::Close);
        self.consume.join(None).await;
    }

    /// Cancels the runs, after `soft_stop`.
    async fn stop_cold(&mut self) {
        if !self.soft_stop.is_zero() {
            tracing::info!(
                seconds = self.soft_stop.as_secs_f64(),
                "runs may go on for this long before they are cancelled"
            );
            let clock = self.process.clock.clone();
            tokio::select! {
                biased;
                () = self.slots.join() => return,
                () = clock.sleep(self.soft_stop) => {}
            }
        }
        self.cold.set();
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
            self.slots.abort();
        }
    }

    /// Requeues the runs that no slot has, without waiting for those that run: other workers can have them at once (the
    /// guarantee `warm-shutdown`).
    fn requeue_waiting(&self) {
        let waiting = self.process.run_queue.close();
        self.process.counts.add_requeued(waiting.len() as u64);
        self.process.completer.submit_all(waiting.into_iter().map(Completion::requeue));
    }

    /// Stops the services that are left. Only a warm stop waits for errbacks; nothing else here takes long.
    async fn close(self, how: StopKind) {
        self.errbacks.stop((how != StopKind::Warm).then_some(Duration::ZERO)).await;
        self.timer.stop(None).await;
        self.duplicate_node.stop(Some(Duration::ZERO)).await;
        self.probes.stop().await;
        if how == StopKind::Now {
            // Dropping a service aborts it.
            return;
        }
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
