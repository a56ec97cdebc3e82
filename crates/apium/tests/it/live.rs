//! Workers that run in the test's process, on the system clock. Their tasks wait at a gate until the test opens it.

use std::time::Duration;

use apium::driver::QueueStats;
use apium::prelude::*;
use apium::worker::{StopKind, StopReport, WorkerHandle};
use futures_util::FutureExt;

use crate::fixture::{Fixture, Records};
use crate::gate::Gate;

/// How long the tests wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How often conditions without a signal are checked.
const INTERVAL: Duration = Duration::from_millis(2);

/// An app on the system clock, with a gate and without tasks: each test registers its own.
pub(crate) fn live(fixture: &Fixture) -> AppBuilder {
    let builder = App::builder("live").broker(fixture.url()).backend(fixture.backend_url()).autodiscover(false);
    let builder = match fixture {
        // On Redis only the lease shows that a worker in this process has died.
        Fixture::Redis(..) => builder.setting("worker_lease", 1),
        _ => builder,
    };
    builder.state(Records::default()).state(Gate::default())
}

fn gate(app: &App) -> &Gate {
    app.states().get().unwrap()
}

/// Waits until `count` more tasks have reached the gate.
pub(crate) async fn entered(app: &App, count: u32) {
    let entered = tokio::time::timeout(PATIENCE, gate(app).entered(count)).await;
    assert!(entered.is_ok(), "{count} tasks should reach the gate");
}

/// Whether no other task has reached the gate.
pub(crate) fn none_entered(app: &App) -> bool {
    gate(app).entered(1).now_or_never().is_none()
}

/// Lets `count` tasks pass, first those that wait at the gate.
pub(crate) fn open_gate(app: &App, count: usize) {
    gate(app).open(count);
}

/// Starts a worker with this many slots.
pub(crate) async fn start(app: &App, slots: usize) -> WorkerHandle {
    app.worker().hostname("w@host").concurrency(slots).start().await.unwrap()
}

/// Stops a worker.
pub(crate) async fn stop(worker: WorkerHandle, how: StopKind) -> StopReport {
    tokio::time::timeout(PATIENCE, worker.stop_as(how)).await.expect("the worker stops")
}

/// Lets one task, which waits at the gate, run to its end, and stops the worker. What the run sent stays in the queue.
pub(crate) async fn one_run(app: &App) {
    let worker = start(app, 1).await;
    entered(app, 1).await;
    worker.request_stop(StopKind::Warm);
    open_gate(app, 1);
    assert_eq!(stop(worker, StopKind::Warm).await.finished, 1);
}

/// Waits until a condition holds.
pub(crate) async fn wait_until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let mut interval = tokio::time::interval(INTERVAL);
    let holding = async {
        while !holds().await {
            interval.tick().await;
        }
    };
    let reached = tokio::time::timeout(PATIENCE, holding).await;
    assert!(reached.is_ok(), "{what} within {PATIENCE:?}");
}

/// The counts of the queue `celery`. RabbitMQ only counts what is ready.
pub(crate) async fn counts(app: &App) -> QueueStats {
    let queues = app.broker().queues().unwrap();
    let Some(counts) = queues.counts() else {
        let mut stats = QueueStats::new("celery".to_owned());
        stats.ready = queues.depth("celery").await.unwrap();
        return stats;
    };
    let all = counts.stats().await.unwrap();
    all.into_iter().find(|stats| stats.queue == "celery").unwrap_or_default()
}

/// Waits until the queue `celery` has this many messages ready and this many unacknowledged, where those are counted.
pub(crate) async fn wait_for_counts(app: &App, ready: u64, unacked: u64) {
    let (mut last, mut interval) = (QueueStats::default(), tokio::time::interval(INTERVAL));
    let unacked = if app.broker().queues().unwrap().counts().is_some() { unacked } else { 0 };
    let counting = async {
        while (last.ready, last.unacked) != (ready, unacked) || last.queue.is_empty() {
            interval.tick().await;
            last = counts(app).await;
        }
    };
    let reached = tokio::time::timeout(PATIENCE, counting).await;
    assert!(reached.is_ok(), "{ready} ready and {unacked} unacked are expected; the queue has {last:?}");
}

/// Waits for the value of a result.
pub(crate) async fn value<T: serde::de::DeserializeOwned + Send + 'static>(result: &AsyncResult<T>) -> T {
    result.get().timeout(PATIENCE).await.unwrap()
}
