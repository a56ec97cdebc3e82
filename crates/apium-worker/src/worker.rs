//! A worker that runs, and the order in which its parts stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::consume::Phase;
use crate::health::health::WorkerHealth;
use crate::health::probes::Probes;
use crate::pipeline::completion::Completion;
use crate::pipeline::process::Process;
use crate::pool::watchdog::Watchdog;
use crate::service::Service;
use crate::shutdown::cold::ColdStopSwitch;
use crate::shutdown::shutdown::{StopKind, StopReport, StopRequest, StopSwitch};
use crate::slots::Slots;

/// How long a cold stop waits for its writes before it leaves the messages to come back by themselves.
const COLD_PATIENCE: Duration = Duration::from_secs(5);

/// A worker that runs.
pub(crate) struct RunningWorker {
    pub(crate) process: Arc<Process>,
    pub(crate) slots: Slots,
    pub(crate) completer: Service,
    /// Calls errbacks; it ends behind the completer.
    pub(crate) errbacks: Service,
    pub(crate) timer: Service,
    /// Watches for another worker of this name; it ends when it is dropped.
    pub(crate) duplicate_node: Service,
    pub(crate) consume: Service,
    /// Tell others of the health; they end last.
    pub(crate) probes: Probes,
    pub(crate) health: Arc<WorkerHealth>,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) cold: ColdStopSwitch,
    pub(crate) watchdog: Option<Watchdog>,
    pub(crate) switch: StopSwitch,
    /// `worker_soft_shutdown_timeout`: how long a cold stop lets runs go on first.
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
        let asked = switch.requested(StopKind::Warm).await;
        let counts = &self.process.counts;
        let finished = counts.finished();
        let report = StopReport {
            how: asked.kind,
            cause,
            finished,
            finished_while_stopping: finished - before,
            given_back: counts.requeued(),
            cancelled: counts.cancelled(),
            leaked_threads: self.process.executor.pools.leaked(),
            unsettled: self.process.completer.pending(),
        };
        self.end(report.how).await;
        tracing::info!("{report}");
        report
    }

    /// The stop in order. Dropped when the worker is to leave at once.
    async fn stop(&mut self) {
        self.phase.send_replace(Phase::Hold);
        self.give_back();
        let switch = self.switch.clone();
        tokio::select! {
            biased;
            () = self.slots.join() => {}
            _ = switch.requested(StopKind::Cold) => self.stop_cold().await,
        }
        // What was on its way to the slots when they ended.
        self.give_back();
        let settled = self.completer.ask_and_join();
        tokio::pin!(settled);
        tokio::select! {
            biased;
            () = &mut settled => {}
            () = async { switch.requested(StopKind::Cold).await; tokio::time::sleep(COLD_PATIENCE).await } => {
                self.process.completer.stop_retrying();
                settled.await;
            }
        }
        self.phase.send_replace(Phase::Close);
        self.consume.join(None).await;
    }

    /// Gives up what runs, after the time that is left to it.
    async fn stop_cold(&mut self) {
        if !self.soft_stop.is_zero() {
            tracing::info!(seconds = self.soft_stop.as_secs_f64(), "runs have some time left before they are given up");
            let clock = self.process.clock.clone();
            tokio::select! {
                biased;
                () = self.slots.join() => return,
                () = clock.sleep(self.soft_stop) => {}
            }
        }
        self.cold.set();
        if tokio::time::timeout(COLD_PATIENCE, self.slots.join()).await.is_ok() {
            return;
        }
        // They wait for writes that do not succeed, or for a hook that does not end.
        self.process.completer.stop_retrying();
        if tokio::time::timeout(COLD_PATIENCE, self.slots.join()).await.is_err() {
            tracing::warn!("some runs did not end within {COLD_PATIENCE:?} of being given up; they are left");
            self.slots.abort();
        }
    }

    /// Gives back what no slot has: it is in its queue again before the runs end (P13).
    fn give_back(&self) {
        let left = self.process.run_queue.close();
        self.process.counts.add_requeued(left.len() as u64);
        self.process.completer.submit_all(left.into_iter().map(Completion::requeue));
    }

    /// Ends what is left: nothing of it can take long.
    async fn end(self, how: StopKind) {
        self.errbacks.stop((how != StopKind::Warm).then_some(Duration::ZERO)).await;
        self.timer.stop(None).await;
        self.duplicate_node.stop(Some(Duration::ZERO)).await;
        self.probes.stop().await;
        if how == StopKind::Now {
            // Dropping the parts aborts them.
            return;
        }
        if let Some(watchdog) = self.watchdog {
            watchdog.stop();
        }
        let pools = self.process.executor.pools.clone();
        // Its threads are idle; the ones that were given up are not waited for.
        let closed = tokio::task::spawn_blocking(move || pools.close(Duration::from_secs(1))).await;
        if closed.is_err() {
            tracing::warn!("could not close the threads of the worker");
        }
    }
}
