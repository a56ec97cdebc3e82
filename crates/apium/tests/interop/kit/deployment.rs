//! A database with a worker of one side. All tests that need no other settings share one deployment of each side.

use std::sync::OnceLock;

use apium_peers::database::Database;
use apium_peers::redis_server::fresh_database;
use serde_json::json;

use crate::kit::pair::Pair;
use crate::kit::python_client::{BorrowedClient, Variables};
use crate::kit::rust_client;
use crate::kit::side::Side;
use crate::kit::worker::{Setup, Worker, WorkerSettings, as_object};

/// A database and its worker.
#[derive(Debug)]
pub(crate) struct Deployment {
    pub(crate) database: Database,
    pub(crate) worker: Worker,
    pub(crate) side: Side,
    pub(crate) settings: WorkerSettings,
}

impl Deployment {
    /// Starts a worker on a database of its own.
    pub(crate) fn start(side: Side, setup: impl FnOnce(Setup) -> Setup) -> Self {
        let database = fresh_database();
        let setup = setup(Setup::new(&database.url));
        Self { worker: setup.start(side), database, side, settings: setup.settings }
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

    /// A producer of one side, and readers of both, with the settings of the worker, more settings, and these variables
    /// of `client.py`.
    pub(crate) async fn pair_with(&self, producer: Side, more: WorkerSettings, variables: Variables) -> Pair {
        let settings: WorkerSettings = self.settings.iter().cloned().chain(more).collect();
        let mut all = vec![("BROKER_URL", self.database.url.clone()), ("RESULT_BACKEND", self.database.url.clone())];
        all.push(("PEER_CONF", as_object(&settings).to_string()));
        all.extend(variables);
        Pair {
            rust: rust_client::app(&self.database.url, &settings).await,
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
