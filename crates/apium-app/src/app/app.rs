//! The app: settings, tasks, state, broker and result backends, for callers and workers; and the current app.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use apium_protocol::codecs::accept::Accept;
use apium_protocol::codecs::codecs::Codecs;
use apium_transport::address::Address;
use apium_transport::backend::backend::SharedBackend;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::clock::Clock;
use apium_transport::driver::SharedDriver;
use apium_transport::error::Result as TransportResult;

use crate::app::blocking::Blocking;
use crate::app::eager_runner::EagerRunner;
use crate::config::table::Config;
use crate::context::current;
use crate::context::state_map::StateMap;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::lamport_clock::LamportClock;
use crate::publish::policy::PublishPolicy;
use crate::publish::producer::{Producer, ProducerPool};
use crate::publish::publisher::Publisher;
use crate::task::registered::RegisteredTask;
use crate::task::registry::Registry;

/// An app, made by [`App::builder`]. Cheap to clone; all clones are the same app.
#[derive(Clone)]
pub struct App(Arc<AppParts>);

/// What an app is made of.
pub(crate) struct AppParts {
    pub(crate) name: String,
    pub(crate) publisher: Publisher,
    pub(crate) registry: Arc<Registry>,
    pub(crate) states: StateMap,
    pub(crate) accept: Accept,
    pub(crate) backend: Option<SharedBackend>,
    /// The result backends of tasks with the option `backend`, by URL.
    pub(crate) backends: HashMap<String, SharedBackend>,
    pub(crate) drivers: Vec<SharedDriver>,
    pub(crate) eager_runner: Option<Arc<dyn EagerRunner>>,
    pub(crate) producers: ProducerPool,
    pub(crate) blocking: Blocking,
}

/// How long observers of the app have for what they were not told yet, when it is closed.
const OBSERVERS_TIMEOUT: Duration = Duration::from_secs(1);

static INSTALLED: RwLock<Option<App>> = RwLock::new(None);

impl App {
    pub(crate) fn new(parts: AppParts) -> Self {
        let parts = Arc::new(parts);
        let owner: Weak<AppParts> = Arc::downgrade(&parts);
        parts.publisher.set_owner(owner);
        Self(parts)
    }

    /// The app that owns a publisher, if there still is one.
    pub(crate) fn of_publisher(publisher: &Publisher) -> Option<Self> {
        publisher.owner()?.downcast::<AppParts>().ok().map(Self)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The settings.
    pub fn config(&self) -> &Arc<Config> {
        self.0.publisher.config()
    }

    /// The tasks.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.0.registry
    }

    /// What publishes messages.
    pub fn publisher(&self) -> &Publisher {
        &self.0.publisher
    }

    /// The broker. An app without a broker has one whose errors say how to name one.
    pub fn broker(&self) -> &SharedBroker {
        self.0.publisher.broker()
    }

    /// The result backend, if there is one.
    pub fn backend(&self) -> Option<&SharedBackend> {
        self.0.backend.as_ref()
    }

    /// Where results of a task are stored: its option `backend`, else the app's result backend.
    pub fn backend_for(&self, task: &RegisteredTask) -> Option<&SharedBackend> {
        let own = task.options.backend.as_deref().and_then(|url| self.0.backends.get(url));
        own.or(self.backend())
    }

    /// As [`backend_for`](Self::backend_for), by the name of the task. For a task that is not registered it is the
    /// app's.
    pub fn backend_of(&self, task: &str) -> Option<&SharedBackend> {
        match self.registry().get(task) {
            Some(task) => self.backend_for(task),
            None => self.backend(),
        }
    }

    /// Every result backend: the app's, then those of tasks.
    pub fn backends(&self) -> impl Iterator<Item = &SharedBackend> {
        self.backend().into_iter().chain(self.0.backends.values())
    }

    /// Serializers and compressions.
    pub fn codecs(&self) -> &Codecs {
        self.0.publisher.codecs()
    }

    /// The serializers whose messages may be decoded (`accept_content`).
    pub fn accept(&self) -> &Accept {
        &self.0.accept
    }

    /// The state that tasks take.
    pub fn states(&self) -> &StateMap {
        &self.0.states
    }

    /// The state of one type that tasks take as [`State`](crate::context::extract::State), for code that is no task: a
    /// web handler, a command of one's own. `None` if the app was built without it.
    pub fn state<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.0.states.get()
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        self.0.publisher.clock()
    }

    /// The logical clock of what it sends and receives as remote control and events (Celery: `app.clock`).
    pub fn lamport_clock(&self) -> &LamportClock {
        self.0.publisher.lamport()
    }

    /// The drivers it may use.
    pub fn drivers(&self) -> &[SharedDriver] {
        &self.0.drivers
    }

    /// What runs eager calls, if anything does.
    pub fn eager_runner(&self) -> Option<&Arc<dyn EagerRunner>> {
        self.0.eager_runner.as_ref()
    }

    /// What runs calls from code that is not async.
    pub fn blocking(&self) -> &Blocking {
        &self.0.blocking
    }

    /// Acquires a producer from a pool of `broker_pool_limit` (Celery: `producer_or_acquire`). Cancel-safe.
    ///
    /// # Errors
    /// [`ErrorKind::Publish`] when none came free within `broker_pool_acquire_timeout`.
    pub async fn producer(&self) -> Result<Producer> {
        self.0.producers.acquire(self.publisher().clone()).await
    }

    /// Does one operation of a caller at the server `at`, a broker or result backend, and again after each error that
    /// may pass: under the policy and within the time that publishing has (`task_publish_retry`,
    /// `task_publish_retry_policy`, `broker_publish_timeout`). Inside a run whose message was acked before it began,
    /// this waits until the server is back. It must do no harm when it is done twice.
    ///
    /// # Errors
    /// The last error of the operation, or that the time is over.
    #[doc(hidden)]
    pub async fn ask<T, F: Future<Output = TransportResult<T>>>(
        &self,
        at: &Address,
        operation: impl FnMut() -> F,
    ) -> TransportResult<T> {
        let (policy, _waits) = self.publisher().policy_in_run(PublishPolicy::of(self.config()));
        policy.run(at, operation).await
    }

    /// Closes the broker and the result backends. Closing twice is not an error.
    ///
    /// # Errors
    /// [`ErrorKind::Backend`] for the first that could not be closed. The others are closed too.
    pub async fn close(&self) -> Result<()> {
        self.publisher().reports().observers.close(OBSERVERS_TIMEOUT).await;
        let mut outcome = self.broker().close().await;
        for backend in self.backends() {
            outcome = outcome.and(backend.close().await);
        }
        outcome.map_err(|error| {
            Error::new(ErrorKind::Backend, format!("close the app {}", self.name())).with_source(error)
        })
    }
}

impl App {
    /// Makes this the app of all calls in the process that name no app, until another one is installed. It is the only
    /// global state of Apium. `send(&app)` does not need it.
    pub fn install(&self) {
        *INSTALLED.write().unwrap_or_else(PoisonError::into_inner) = Some(self.clone());
    }

    /// The app that runs the current task, else the installed one.
    ///
    /// # Errors
    /// [`ErrorKind::NoCurrentApp`] where there is neither.
    pub fn current() -> Result<Self> {
        if let Some(app) = current::get().and_then(|ctx| ctx.publisher().and_then(Self::of_publisher)) {
            return Ok(app);
        }
        let installed = INSTALLED.read().unwrap_or_else(PoisonError::into_inner).clone();
        installed.ok_or_else(|| {
            Error::new(
                ErrorKind::NoCurrentApp,
                "find the app of the call: name it with .send(&app), or install one with app.install()",
            )
        })
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("name", &self.name())
            .field("broker", self.broker().address())
            .finish_non_exhaustive()
    }
}
