//! The app: settings, tasks, state, broker and result backends, shared by callers and workers.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use apium_protocol::codecs::accept::Accept;
use apium_protocol::codecs::codecs::Codecs;
use apium_transport::backend::backend::SharedBackend;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::clock::Clock;
use apium_transport::driver::SharedDriver;

use crate::app::blocking::Blocking;
use crate::app::eager_runner::EagerRunner;
use crate::config::table::Config;
use crate::context::state_map::StateMap;
use crate::error::{Error, ErrorKind, Result};
use crate::publish::producer::{Producer, ProducerPool};
use crate::publish::publisher::Publisher;
use crate::task::registered::RegisteredTask;
use crate::task::registry::Registry;

/// An app. Cheap to clone; clones share everything. Made by [`App::builder`].
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
    /// Backends that tasks name for themselves, by URL.
    pub(crate) backends: HashMap<String, SharedBackend>,
    pub(crate) drivers: Vec<SharedDriver>,
    pub(crate) eager_runner: Option<Arc<dyn EagerRunner>>,
    pub(crate) producers: ProducerPool,
    pub(crate) blocking: Blocking,
}

impl App {
    pub(crate) fn new(parts: AppParts) -> Self {
        let parts = Arc::new(parts);
        let owner: Weak<AppParts> = Arc::downgrade(&parts);
        parts.publisher.set_owner(owner);
        Self(parts)
    }

    /// The app whose publisher this is, if it still lives.
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

    /// The broker. An app without one has one that refuses everything and says how to name one.
    pub fn broker(&self) -> &SharedBroker {
        self.0.publisher.broker()
    }

    /// The result backend, if there is one.
    pub fn backend(&self) -> Option<&SharedBackend> {
        self.0.backend.as_ref()
    }

    /// Where results of a task are stored: the backend that it names itself, else the app's.
    pub fn backend_for(&self, task: &RegisteredTask) -> Option<&SharedBackend> {
        let own = task.options.backend.as_deref().and_then(|url| self.0.backends.get(url));
        own.or(self.backend())
    }

    /// As [`backend_for`](Self::backend_for), by name; the app's for a task that is not registered here.
    pub fn backend_of(&self, task: &str) -> Option<&SharedBackend> {
        match self.registry().get(task) {
            Some(task) => self.backend_for(task),
            None => self.backend(),
        }
    }

    /// Every result backend: the app's, then those that tasks name.
    pub fn backends(&self) -> impl Iterator<Item = &SharedBackend> {
        self.backend().into_iter().chain(self.0.backends.values())
    }

    /// Serializers and compressions.
    pub fn codecs(&self) -> &Codecs {
        self.0.publisher.codecs()
    }

    /// Which serializers may be decoded (`accept_content`).
    pub fn accept(&self) -> &Accept {
        &self.0.accept
    }

    /// The state that tasks take.
    pub fn states(&self) -> &StateMap {
        &self.0.states
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        self.0.publisher.clock()
    }

    /// The drivers it may use.
    pub fn drivers(&self) -> &[SharedDriver] {
        &self.0.drivers
    }

    /// What runs eager calls, if anything does.
    pub fn eager_runner(&self) -> Option<&Arc<dyn EagerRunner>> {
        self.0.eager_runner.as_ref()
    }

    /// What runs calls from plain code.
    pub fn blocking(&self) -> &Blocking {
        &self.0.blocking
    }

    /// A producer to hold (Celery: `producer_or_acquire`), from a pool of `broker_pool_limit`. Cancel-safe.
    ///
    /// # Errors
    /// [`ErrorKind::Publish`] when none came free within `broker_pool_acquire_timeout`.
    pub async fn producer(&self) -> Result<Producer> {
        self.0.producers.acquire(self.publisher().clone()).await
    }

    /// Closes broker and result backends. Idempotent.
    ///
    /// # Errors
    /// The first that could not be closed; the others are closed all the same.
    pub async fn close(&self) -> Result<()> {
        let mut outcome = self.broker().close().await;
        for backend in self.backends() {
            outcome = outcome.and(backend.close().await);
        }
        outcome.map_err(|error| {
            Error::new(ErrorKind::Backend, format!("close the app {}", self.name())).with_source(error)
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
