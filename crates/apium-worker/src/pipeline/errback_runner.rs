//! Calls the errbacks that this worker calls itself, in the background and one after the other. They run after the
//! failure is stored, and cannot change it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use apium_app::context::context::{Ctx, CtxParts};
use apium_app::context::limit_signal::LimitSignal;
use apium_app::context::state_map::StateMap;
use apium_app::publish::publisher::Publisher;
use apium_app::task::registry::Registry;
use apium_protocol::value::repr::repr_value;
use tokio::sync::Notify;

use crate::follow_up::pending_errback::PendingErrback;
use crate::limits::time_limit::Limits;
use crate::outcome::RunOutcome;
use crate::pipeline::executor::Executor;
use crate::service::{Service, Stopping};

/// Calls errbacks in the background.
#[derive(Clone)]
pub(crate) struct ErrbackRunner(Arc<Shared>);

struct Shared {
    pending: Mutex<VecDeque<PendingErrback>>,
    wake: Notify,
    executor: Executor,
    registry: Arc<Registry>,
    publisher: Publisher,
    states: StateMap,
}

impl ErrbackRunner {
    pub(crate) fn new(executor: Executor, registry: Arc<Registry>, publisher: Publisher, states: StateMap) -> Self {
        let (pending, wake) = (Mutex::default(), Notify::new());
        Self(Arc::new(Shared { pending, wake, executor, registry, publisher, states }))
    }

    /// Adds errbacks whose failure is stored.
    pub(crate) fn submit(&self, errbacks: Vec<PendingErrback>) {
        if errbacks.is_empty() {
            return;
        }
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner).extend(errbacks);
        self.0.wake.notify_one();
    }

    /// Starts the service that calls them. When it is asked to stop, it calls those that are left first.
    pub(crate) fn start(&self) -> Service {
        let errbacks = self.clone();
        Service::start("errbacks", |stopping| async move { errbacks.serve(stopping).await })
    }

    async fn serve(&self, mut stopping: Stopping) {
        loop {
            let next = self.0.pending.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match next {
                Some(errback) => self.call(errback).await,
                None if stopping.is_set() => return,
                None => tokio::select! {
                    () = self.0.wake.notified() => {}
                    () = stopping.wait() => {}
                },
            }
        }
    }

    async fn call(&self, errback: PendingErrback) {
        let PendingErrback { task, args, kwargs, failed } = errback;
        let Some(registered) = self.0.registry.get(&task).cloned() else { return };
        let id = failed.id().map_or("?", |id| id.as_str()).to_owned();
        let mut request = failed;
        (request.body.args, request.body.kwargs) = (args, kwargs);
        request.body.embed = Default::default();
        request.headers.task = Some(registered.name.clone());
        let ctx = Ctx::new(CtxParts {
            request: Arc::new(request),
            task: registered,
            publisher: self.0.publisher.clone(),
            backend: None,
            states: self.0.states.clone(),
            limits: LimitSignal::never(),
            run: None,
        });
        match self.0.executor.execute(&ctx, Limits::NONE, None).await {
            RunOutcome::Success(value) => {
                tracing::debug!(errback = task, id, "errback {task} of task {id} returned {}", repr_value(&value));
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
    }
}
