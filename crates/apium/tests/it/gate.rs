//! A gate in a task: the test knows when the task has reached it, and opens it.

use std::sync::Arc;

use apium::prelude::*;
use tokio::sync::Semaphore;

use crate::fixture::Fixture;

/// A gate that tasks wait at. Injected as state.
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
    /// Waits until `count` more tasks have reached the gate.
    pub(crate) async fn entered(&self, count: u32) {
        self.entered.acquire_many(count).await.unwrap().forget();
    }

    /// Lets `count` tasks pass.
    pub(crate) fn open(&self, count: usize) {
        self.opened.add_permits(count);
    }

    /// Tells the test that a task has reached the gate, and does not wait.
    pub(crate) fn enter(&self) {
        self.entered.add_permits(1);
    }

    /// Tells the test that a task has reached the gate, and waits until it may pass.
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

/// How many messages are unacknowledged while one task runs.
pub(crate) async fn unacked_while_running(fixture: &Fixture, acks_late: bool) -> u64 {
    let gate = Gate::default();
    let app = fixture.builder().state(gate.clone()).setting("task_acks_late", acks_late).build().await.unwrap();
    let worker = app.worker().concurrency(1).prefetch_multiplier(1).start().await.unwrap();
    let result = gated::delay(1).send(&app).await.unwrap();
    gate.entered(1).await;
    let stats = app.broker().queues().unwrap().counts().unwrap().stats().await.unwrap();
    gate.open(1);
    result.get().await.unwrap();
    worker.stop().await;
    stats.iter().map(|queue| queue.unacked).sum()
}
