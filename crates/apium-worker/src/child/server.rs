//! Runs bodies in a child, with the executor and the pools of a worker.

use std::sync::Arc;

use apium_app::app::app::App;
use apium_app::context::context::{Ctx, CtxParts};
use apium_app::context::limit_signal::LimitSignal;
use apium_app::context::store_waits::StoreWaits;
use apium_app::failure::Failure;
use apium_protocol::result::exception::ExceptionInfo;
use bytes::Bytes;
use tracing::Instrument as _;

use crate::control::commands::process_facts::resident_kib;
use crate::limits::stopped_time::RunClock;
use crate::outcome::RunOutcome;
use crate::pipeline::executor::Executor;
use crate::pipeline::log;
use crate::pool::kind::PoolKind;
use crate::pool::pool::PoolSlot;
use crate::pool::pools::Pools;
use crate::pool::process::frame::{Frame, FrameKind, encode};
use crate::pool::process::messages::{EndedHead, RunHead, StartHead};
use crate::pool::threads::LeakCeiling;
use crate::runs::slot::Slot;

/// Runs bodies in this child.
pub(crate) struct BodyServer<'a> {
    app: &'a App,
    executor: Executor,
    tells_memory: bool,
}

impl<'a> BodyServer<'a> {
    pub(crate) fn new(app: &'a App, start: &StartHead) -> Self {
        let ceiling = LeakCeiling { most: 0, faults: None };
        let clock = RunClock::new(app.clock().clone());
        let pools = Pools::new(PoolKind::Async, start.concurrency, &clock, ceiling);
        // The layers are around the run in the worker.
        Self { app, executor: Executor { pools, layers: Vec::new() }, tells_memory: start.memory }
    }

    /// Runs a body, and returns the frame of its end.
    pub(crate) async fn run(&self, head: RunHead, frame: Frame, slot: Arc<Slot>) -> (u64, Vec<u8>) {
        let number = head.run;
        let (mut ended, value) = self.outcome(head, &frame.body, slot).await;
        if self.tells_memory {
            ended.memory = resident_kib();
        }
        let frame = encode(FrameKind::RunEnded, &ended, &value).or_else(|error| {
            let (failed, nothing) = EndedHead::of(number, RunOutcome::Failure(Failure::from_error(error)));
            encode(FrameKind::RunEnded, &failed, &nothing)
        });
        // A short text always has a frame.
        (number, frame.unwrap_or_default())
    }

    async fn outcome(&self, head: RunHead, body: &Bytes, slot: Arc<Slot>) -> (EndedHead, Bytes) {
        let (number, version, limits) = (head.run, head.version(), head.limits());
        let failed = |exception| EndedHead::of(number, RunOutcome::Failure(Failure::from_exception(exception)));
        let Some(task) = self.app.registry().get(&head.task).cloned() else {
            return failed(ExceptionInfo::not_registered(&head.task));
        };
        let request = match head.into_request(body) {
            Ok(request) => Arc::new(request),
            Err(error) => return EndedHead::of(number, RunOutcome::Failure(Failure::from_error(error))),
        };
        let needs_signal = !limits.is_none() || task.is_blocking();
        let ctx = Ctx::new(CtxParts {
            request: request.clone(),
            task: task.clone(),
            publisher: self.app.publisher().clone(),
            backend: self.app.backend_for(&task).cloned(),
            states: self.app.states().clone(),
            limits: if needs_signal { LimitSignal::new() } else { LimitSignal::never() },
            run: version,
            waits: StoreWaits::default(),
        });
        slot.cancel.begin();
        let span = log::span(&task.name, &request);
        let slot = PoolSlot::unwatched(slot);
        let outcome = self.executor.execute(&ctx, limits, &slot).instrument(span).await;
        let (mut head, value) = EndedHead::of(number, outcome);
        (head.children, head.unsent) = (ctx.children(), ctx.unsent_additions());
        (head, value)
    }
}
