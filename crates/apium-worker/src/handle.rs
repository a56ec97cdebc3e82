//! A handle on a worker that runs in the background.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use apium_transport::health::Health;
use tokio::sync::oneshot;

use crate::health::health::WorkerHealth;
use crate::pipeline::process::Process;
use crate::service::Service;
use crate::shutdown::kind::{StopCause, StopKind};
use crate::shutdown::report::StopReport;
use crate::shutdown::switch::{StopRequest, StopSwitch};
use crate::worker::RunningWorker;

/// A worker that runs in the background, started by [`WorkerBuilder::start`](crate::builder::WorkerBuilder::start).
/// Dropping the handle stops it at once, as a crash would; [`stop`](Self::stop) and its like stop it in order, and
/// report what it left behind.
pub struct WorkerHandle {
    node: Arc<str>,
    switch: StopSwitch,
    process: Arc<Process>,
    health: Arc<WorkerHealth>,
    listens: Option<SocketAddr>,
    report: oneshot::Receiver<StopReport>,
    part: Service,
}

impl WorkerHandle {
    pub(crate) fn new(node: Arc<str>, running: RunningWorker) -> Self {
        let (switch, process) = (running.switch.clone(), running.process.clone());
        let (health, listens) = (running.health.clone(), running.probes.address);
        let (sender, report) = oneshot::channel();
        let part = Service::start("worker", move |_| async move {
            let report = running.serve().await;
            // Who held the handle may be gone.
            let _ = sender.send(report);
        });
        Self { node, switch, process, health, listens, report, part }
    }

    /// The node name, expanded.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Whether the worker can reach its broker and its result backends, and fetches: what the ready file and `/ready`
    /// tell. Asks nobody and returns at once.
    pub fn health(&self) -> Health {
        self.health.health()
    }

    /// How many threads still execute a plain function whose run is over, because its hard time limit passed or a stop
    /// cancelled it. At `worker_max_leaked_threads` the worker stops.
    pub fn leaked_threads(&self) -> usize {
        self.process.executor.pools.leaked()
    }

    /// Sends events of tasks from now on (Celery: `enable_events`). Returns whether they were off.
    pub fn enable_task_events(&self) -> bool {
        self.process.observer.events_switch().enable()
    }

    /// Sends no more events of tasks (Celery: `disable_events`), also in a worker that was started to send them.
    /// Returns whether they were on.
    pub fn disable_task_events(&self) -> bool {
        self.process.observer.events_switch().disable()
    }

    /// Sends a heartbeat to monitors now, and often for a while: somebody listens (Celery: `heartbeat`).
    pub fn send_heartbeat(&self) {
        self.process.observer.events_switch().heartbeat();
    }

    /// Where health probes and metrics are answered, when they are: the port is the real one when 0 was asked for.
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.listens
    }

    /// Stops the worker warm, and waits for it: nothing more is fetched, what was fetched and not begun goes back to
    /// its queue, and what runs is finished, however long that takes (Celery: SIGTERM).
    ///
    /// Not cancel-safe: a worker whose stop is dropped stops at once, as it does when its handle is dropped.
    pub async fn stop(self) -> StopReport {
        self.stop_as(StopKind::Warm).await
    }

    /// Stops the worker warm, and cold when it has not stopped after `limit`. Not cancel-safe, as [`stop`](Self::stop).
    pub async fn stop_within(self, limit: Duration) -> StopReport {
        self.request_stop(StopKind::Warm);
        let switch = self.switch.clone();
        let mut stopped = std::pin::pin!(self.stopped());
        tokio::select! {
            report = &mut stopped => return report,
            () = tokio::time::sleep(limit) => switch.request(StopKind::Cold),
        }
        stopped.await
    }

    /// Stops the worker cold, and waits for it: what runs is given up. Late-ack tasks go back to their queue, early-ack
    /// tasks are REVOKED (Celery: SIGQUIT). Not cancel-safe, as [`stop`](Self::stop).
    pub async fn stop_cold(self) -> StopReport {
        self.stop_as(StopKind::Cold).await
    }

    /// Stops the worker as `kind` says, and waits for it. Not cancel-safe, as [`stop`](Self::stop).
    pub async fn stop_as(self, kind: StopKind) -> StopReport {
        self.request_stop(kind);
        self.stopped().await
    }

    /// Asks for a stop and returns at once; [`stopped`](Self::stopped) waits for it. A harder one may be asked for
    /// later, a softer one changes nothing.
    pub fn request_stop(&self, kind: StopKind) {
        self.switch.request(kind);
    }

    /// Waits until somebody asked for a stop. Cancel-safe.
    pub async fn stopping(&self) {
        let StopRequest { .. } = self.switch.requested(StopKind::Warm).await;
    }

    /// Waits until the worker has stopped.
    pub async fn stopped(mut self) -> StopReport {
        let report = (&mut self.report).await;
        self.part.join(None).await;
        report.unwrap_or_else(|_| {
            tracing::error!("the worker ended without a report");
            self.process.completer.close();
            let unsettled = self.process.completer.unsettled();
            let report = StopReport::new(StopKind::Now, StopCause::Program);
            report.with_unsettled(unsettled.iter().map(ToString::to_string).collect())
        })
    }

    pub(crate) fn switch(&self) -> StopSwitch {
        self.switch.clone()
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }
}

impl fmt::Debug for WorkerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerHandle").field("node", &self.node).finish_non_exhaustive()
    }
}
