//! A broker with a worker of one side. All tests that need no other settings share one deployment of each side.

use std::sync::OnceLock;

use apium_peers::namespace::Database;
use apium_peers::rabbitmq_server::fresh_vhost;
use apium_peers::redis_server::fresh_database;
use serde_json::json;

use crate::kit::pair::Pair;
use crate::kit::python_client::{BorrowedClient, Variables};
use crate::kit::rust_client;
use crate::kit::side::Side;
use crate::kit::worker::{Setup, Worker, WorkerSettings, as_object};

/// The broker of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broker {
    /// In the database of the results.
    Redis,
    /// In a vhost of its own, with results in Redis.
    Rabbitmq,
}

/// A broker with results in Redis, and its worker.
#[derive(Debug)]
pub(crate) struct Deployment {
    /// The address of the broker.
    pub(crate) broker: String,
    /// The results; with Redis as broker, all of it.
    pub(crate) database: Database,
    pub(crate) worker: Worker,
    pub(crate) side: Side,
    pub(crate) settings: WorkerSettings,
}

impl Deployment {
    /// Starts a worker on a database of its own.
    pub(crate) fn start(side: Side, setup: impl FnOnce(Setup) -> Setup) -> Self {
        Self::start_on(Broker::Redis, side, setup)
    }

    /// The same on a broker of this kind.
    pub(crate) fn start_on(broker: Broker, side: Side, setup: impl FnOnce(Setup) -> Setup) -> Self {
        let database = fresh_database();
        let broker = match broker {
            Broker::Redis => database.url.clone(),
            Broker::Rabbitmq => fresh_vhost().url,
        };
        let setup = setup(Setup::new(&broker).results(&database.url));
        Self { worker: setup.start(side), broker, database, side, settings: setup.settings }
    }

    /// The shared worker of a side: four slots, the queues `celery` and `other`.
    pub(crate) fn shared(side: Side) -> &'static Self {
        static RUST: OnceLock<Deployment> = OnceLock::new();
        static PYTHON: OnceLock<Deployment> = OnceLock::new();
        let shared = if side == Side::Rust { &RUST } else { &PYTHON };
        shared.get_or_init(|| {
            Self::start(side, |setup| setup.queues("celery,other").slots(4).set("task_track_started", json!(true)))
        })
    }

    /// The shared worker of Apium that runs the Python app in child processes. Its results are those of Python.
    pub(crate) fn shared_children() -> &'static Self {
        static CHILDREN: OnceLock<Deployment> = OnceLock::new();
        CHILDREN.get_or_init(|| {
            let database = fresh_database();
            let setup = Setup::new(&database.url).queues("celery,other").slots(4);
            let setup = setup.set("task_track_started", json!(true));
            let (worker, broker) = (setup.start_children(), database.url.clone());
            Self { worker, broker, database, side: Side::Python, settings: setup.settings }
        })
    }

    /// A producer of one side, and readers of both, with the settings of the worker, more settings, and these variables
    /// of `client.py`.
    pub(crate) async fn pair_with(&self, producer: Side, more: WorkerSettings, variables: Variables) -> Pair {
        let settings: WorkerSettings = self.settings.iter().cloned().chain(more).collect();
        let mut all = vec![("BROKER_URL", self.broker.clone()), ("RESULT_BACKEND", self.database.url.clone())];
        all.push(("PEER_CONF", as_object(&settings).to_string()));
        all.extend(variables);
        Pair {
            rust: rust_client::app_with_results(&self.broker, &self.database.url, &settings).await,
            python: BorrowedClient::of(all),
            producer,
            worker: self.side,
        }
    }

    /// Like [`pair_with`](Self::pair_with), without more settings or variables.
    pub(crate) async fn pair(&self, producer: Side) -> Pair {
        self.pair_with(producer, Vec::new(), Vec::new()).await
    }
}

/// Makes a test for every broker from each function.
macro_rules! on_every_broker {
    ($($(#[$meta:meta])* async fn $name:ident($broker:ident: Broker) $body:block)*) => {
        $($(#[$meta])* async fn $name($broker: $crate::kit::deployment::Broker) $body)*

        on_every_broker!(@ on_redis Redis $($name)*);
        on_every_broker!(@ on_rabbitmq Rabbitmq $($name)*);
    };
    (@ $module:ident $broker:ident $($name:ident)*) => {
        mod $module {
            use $crate::kit::deployment::Broker;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
            async fn $name() {
                Box::pin(super::$name(Broker::$broker)).await;
            })*
        }
    };
}
