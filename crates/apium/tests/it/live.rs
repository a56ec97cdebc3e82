//! Workers as a program runs them, in this process: their tasks stand at a gate until the test lets them go on.

use std::time::Duration;

use apium::driver::QueueStats;
use apium::prelude::*;
use apium::worker::{StopKind, StopReport, WorkerHandle};
use futures_util::FutureExt;

use crate::gate::Gate;
use crate::ground::{Ground, Notes};

/// Nothing that these tests wait for takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long between two looks at what has no signal of its own.
const LOOK: Duration = Duration::from_millis(2);

/// An app on the machine's clock with a gate and no tasks: each test registers its own.
pub(crate) fn live(ground: &Ground) -> AppBuilder {
    let builder = App::builder("live").broker(ground.url()).backend(ground.url()).autodiscover(false);
    let builder = match ground {
        // Only the lease tells other workers here that one has died.
        Ground::Redis(..) => builder.setting("worker_lease", 1),
        _ => builder,
    };
    builder.state(Notes::default()).state(Gate::default())
}

fn gate(app: &App) -> &Gate {
    app.states().get().unwrap()
}

/// Waits until so many more tasks stand at the gate.
pub(crate) async fn came(app: &App, count: u32) {
    let entered = tokio::time::timeout(PATIENCE, gate(app).entered(count)).await;
    assert!(entered.is_ok(), "{count} tasks are wanted at the gate");
}

/// Whether nobody else stands at the gate.
pub(crate) fn nobody_came(app: &App) -> bool {
    gate(app).entered(1).now_or_never().is_none()
}

/// Lets so many tasks through, those that stand at the gate first.
pub(crate) fn let_through(app: &App, count: usize) {
    gate(app).open(count);
}

/// Starts a worker with so many slots.
pub(crate) async fn start(app: &App, slots: usize) -> WorkerHandle {
    app.worker().hostname("w@host").concurrency(slots).start().await.unwrap()
}

/// Stops a worker.
pub(crate) async fn stop(worker: WorkerHandle, how: StopKind) -> StopReport {
    tokio::time::timeout(PATIENCE, worker.stop(how)).await.expect("the worker stops")
}

/// Lets one task run to its end, which stands at the gate first, and stops the worker. What the run sent stays in the queue.
pub(crate) async fn one_run(app: &App) {
    let worker = start(app, 1).await;
    came(app, 1).await;
    worker.ask(StopKind::Warm);
    let_through(app, 1);
    assert_eq!(stop(worker, StopKind::Warm).await.finished, 1);
}

/// Waits until something holds, looking every other millisecond.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let mut looks = tokio::time::interval(LOOK);
    let holding = async {
        while !holds().await {
            looks.tick().await;
        }
    };
    let held = tokio::time::timeout(PATIENCE, holding).await;
    assert!(held.is_ok(), "{what} within {PATIENCE:?}");
}

/// What is in the queue `celery`.
pub(crate) async fn counts(app: &App) -> QueueStats {
    let all = app.broker().queues().unwrap().counts().unwrap().stats().await.unwrap();
    all.into_iter().find(|stats| stats.queue == "celery").unwrap_or_default()
}

/// Waits until so many messages of `celery` can be delivered, and so many are delivered and not settled.
pub(crate) async fn until_counts(app: &App, ready: u64, unacked: u64) {
    let (mut last, mut looks) = (QueueStats::default(), tokio::time::interval(LOOK));
    let counting = async {
        while (last.ready, last.unacked) != (ready, unacked) || last.queue.is_empty() {
            looks.tick().await;
            last = counts(app).await;
        }
    };
    let reached = tokio::time::timeout(PATIENCE, counting).await;
    assert!(reached.is_ok(), "{ready} ready and {unacked} unacked are wanted, and these are there: {last:?}");
}

/// Waits for the value of a result.
pub(crate) async fn value<T: serde::de::DeserializeOwned + Send + 'static>(result: &AsyncResult<T>) -> T {
    result.get().timeout(PATIENCE).await.unwrap()
}
