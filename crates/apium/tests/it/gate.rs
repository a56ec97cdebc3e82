//! A task that says when it runs and waits to be let go.

use std::sync::Arc;

use apium::prelude::*;
use apium::worker::StopKind;
use tokio::sync::Semaphore;

use crate::ground::Ground;

/// Counts who came in and lets go as many as it is opened for. Injected as state.
#[derive(Clone)]
pub(crate) struct Gate {
    entered: Arc<Semaphore>,
    opened: Arc<Semaphore>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { entered: Arc::new(Semaphore::new(0)), opened: Arc::new(Semaphore::new(0)) }
    }
}

impl Gate {
    /// Waits until `count` more tasks have come in.
    pub(crate) async fn entered(&self, count: u32) {
        self.entered.acquire_many(count).await.unwrap().forget();
    }

    /// Lets `count` tasks go.
    pub(crate) fn open(&self, count: usize) {
        self.opened.add_permits(count);
    }

    /// A task comes in and goes on.
    pub(crate) fn enter(&self) {
        self.entered.add_permits(1);
    }

    /// What the task does: comes in, waits to be let go.
    pub(crate) async fn pass(&self) {
        self.enter();
        self.opened.acquire().await.unwrap().forget();
    }
}

/// Waits at the gate, then returns its argument.
#[task(name = "gate.gated")]
pub(crate) async fn gated(State(gate): State<Gate>, n: i64) -> TaskResult<i64> {
    gate.pass().await;
    Ok(n)
}

/// How many messages are out for delivery while one task runs.
pub(crate) async fn held_while_running(ground: &Ground, acks_late: bool) -> u64 {
    let gate = Gate::default();
    let app = ground.builder().state(gate.clone()).setting("task_acks_late", acks_late).build().await.unwrap();
    let worker = app.worker().concurrency(1).prefetch_multiplier(1).start().await.unwrap();
    let result = gated::delay(1).send(&app).await.unwrap();
    gate.entered(1).await;
    let stats = app.broker().queues().unwrap().counts().unwrap().stats().await.unwrap();
    gate.open(1);
    result.get().await.unwrap();
    worker.stop(StopKind::Warm).await;
    stats.iter().map(|queue| queue.unacked).sum()
}
