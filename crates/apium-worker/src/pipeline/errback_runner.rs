//! Calls the errbacks that this worker calls itself. They run after the failure is stored, and cannot change it.
//!
//! The errbacks of a run that failed are called in its slot, before its delivery is settled: if the worker dies
//! meanwhile, the delivery of a late-ack task comes again. The store that ends a chord brings the errbacks of its body;
//! these are called in the background. All have time limits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apium_app::context::context::{Ctx, CtxParts};
use apium_app::context::limit_signal::LimitSignal;
use apium_app::context::state_map::StateMap;
use apium_app::context::store_waits::StoreWaits;
use apium_app::publish::publisher::Publisher;
use apium_app::task::registry::Registry;
use apium_protocol::message::headers::TimeLimit;
use apium_protocol::value::printable::{printable, printable_text};
use apium_protocol::value::repr::repr_value;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;

use crate::follow_up::pending_errback::PendingErrback;
use crate::limits::time_limit::Limits;
use crate::outcome::RunOutcome;
use crate::pipeline::executor::Executor;
use crate::pool::pool::{BodyRun, PoolSlot};
use crate::service::{Service, Stopping};

/// How long an errback may take that has no time limit of its own.
const DEFAULT_LIMIT: Duration = Duration::from_secs(300);
/// How many are called at once in the background. There are as many threads beside those of the slots.
pub(crate) const AT_ONCE: usize = 4;
/// How many may wait in the background before runs that may bring more of them wait.
const MAX_WAITING: usize = 256;

/// Calls errbacks.
#[derive(Clone)]
pub(crate) struct ErrbackRunner(Arc<Shared>);

struct Shared {
    waiting: Mutex<VecDeque<PendingErrback>>,
    wake: Notify,
    has_room: Notify,
    executor: Executor,
    registry: Arc<Registry>,
    publisher: Publisher,
    states: StateMap,
    slot: PoolSlot,
}

impl ErrbackRunner {
    /// Calls errbacks in `slot`, which a cold stop cancels.
    pub(crate) fn new(
        executor: Executor,
        registry: Arc<Registry>,
        publisher: Publisher,
        states: StateMap,
        slot: PoolSlot,
    ) -> Self {
        let (waiting, wake, has_room) = (Mutex::default(), Notify::new(), Notify::new());
        Self(Arc::new(Shared { waiting, wake, has_room, executor, registry, publisher, states, slot }))
    }

    /// Adds errbacks whose failure is stored, to be called in the background.
    pub(crate) fn submit(&self, errbacks: Vec<PendingErrback>) {
        if errbacks.is_empty() {
            return;
        }
        self.lock().extend(errbacks);
        self.0.wake.notify_one();
    }

    /// Waits while too many errbacks wait in the background. Cancel-safe.
    pub(crate) async fn wait_for_room(&self) {
        while self.lock().len() >= MAX_WAITING {
            let has_room = self.0.has_room.notified();
            if self.lock().len() < MAX_WAITING {
                return;
            }
            has_room.await;
        }
    }

    /// How many errbacks wait in the background.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().len()
    }

    /// Starts the service that calls those of the background. When it is asked to stop, it calls those that are left
    /// first.
    pub(crate) fn start(&self) -> Service {
        let errbacks = self.clone();
        Service::start("errbacks", |stopping| async move { errbacks.serve(stopping).await })
    }

    async fn serve(&self, mut stopping: Stopping) {
        let mut called = FuturesUnordered::new();
        loop {
            while called.len() < AT_ONCE
                && let Some(errback) = self.next()
            {
                called.push(self.call(errback));
            }
            if called.is_empty() {
                if stopping.is_set() {
                    return;
                }
                tokio::select! {
                    () = self.0.wake.notified() => {}
                    () = stopping.wait() => {}
                }
                continue;
            }
            tokio::select! {
                _ = called.next() => {}
                () = self.0.wake.notified(), if called.len() < AT_ONCE => {}
            }
        }
    }

    fn next(&self) -> Option<PendingErrback> {
        let next = self.lock().pop_front();
        self.0.has_room.notify_waiters();
        next
    }

    /// Calls an errback. Returns whether it was called to its end, however that was: not, where a cold stop of the
    /// worker cancelled it.
    pub(crate) async fn call(&self, errback: PendingErrback) -> bool {
        let PendingErrback { task, args, kwargs, of_failure, failed } = errback;
        let Some(registered) = self.0.registry.get(&task).cloned() else { return true };
        let id = &*printable_text(failed.id().map_or("?", |id| id.as_str())).into_owned();
        let mut limits = Limits::of(TimeLimit::default(), &registered.effective);
        limits.hard = limits.hard.or(Some(DEFAULT_LIMIT));
        let mut request = failed;
        (request.body.args, request.body.kwargs) = (args, kwargs);
        request.body.embed = Default::default();
        request.headers.task = Some(registered.name.clone());
        let ctx = Ctx::new(CtxParts {
            request: Arc::new(request),
            task: registered.clone(),
            publisher: self.0.publisher.clone(),
            backend: None,
            states: self.0.states.clone(),
            limits: LimitSignal::new(),
            run: None,
            waits: StoreWaits::default(),
        });
        let run = BodyRun {
            ctx: &ctx,
            task: &registered,
            limits,
            slot: &self.0.slot,
            errback: Some(of_failure),
            instead: None,
        };
        match self.0.executor.run(run).await {
            RunOutcome::Success(value) => {
                tracing::debug!(
                    errback = task,
                    id,
                    "errback {task} of task {id} returned {}",
                    printable(repr_value(&value))
                );
            }
            RunOutcome::Cancelled => {
                tracing::warn!(
                    errback = task,
                    id,
                    "errback {task} of task {id} was cancelled by the stop of its worker"
                );
                return false;
            }
            RunOutcome::TimedOut(limit) => {
                let seconds = limit.as_secs_f64();
                tracing::error!(
                    errback = task,
                    id,
                    "errback {task} of task {id} was given up after {seconds} s; set the time_limit of {task} to change that"
                );
            }
            other => {
                tracing::error!(
                    errback = task,
                    id,
                    ?other,
                    "errback {task} of task {id} failed; the result of the task stays as it is"
                )
            }
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<PendingErrback>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
