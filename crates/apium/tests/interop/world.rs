//! A database with a worker of one kind, shared by all tests that ask for nothing else.

use std::sync::OnceLock;

use apium_peers::database::Database;
use apium_peers::redis_server::fresh_database;
use serde_json::json;

use crate::lane::Lane;
use crate::python::{Borrowed, Variables};
use crate::rust;
use crate::side::Side;
use crate::worker::{Settings, Setup, Worker, as_object};

/// A database and who works on it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) database: Database,
    pub(crate) worker: Worker,
    pub(crate) side: Side,
    pub(crate) settings: Settings,
}

impl World {
    /// Starts a worker on a database of its own.
    pub(crate) fn start(side: Side, setup: impl FnOnce(Setup) -> Setup) -> Self {
        let database = fresh_database();
        let setup = setup(Setup::new(&database.url));
        Self { worker: setup.start(side), database, side, settings: setup.settings }
    }

    /// The everyday worker of a kind: four slots, the queues `celery` and `other`.
    pub(crate) fn everyday(side: Side) -> &'static Self {
        static RUST: OnceLock<World> = OnceLock::new();
        static PYTHON: OnceLock<World> = OnceLock::new();
        let place = if side == Side::Rust { &RUST } else { &PYTHON };
        place.get_or_init(|| {
            Self::start(side, |setup| setup.queues("celery,other").slots(4).set("task_track_started", json!(true)))
        })
    }

    /// A producer of one side, and readers of both, with the settings of the world, some more, and these variables of
    /// `client.py`.
    pub(crate) async fn lane_with(&self, producer: Side, more: Settings, variables: Variables) -> Lane {
        let settings: Settings = self.settings.iter().cloned().chain(more).collect();
        let mut all = vec![("BROKER_URL", self.database.url.clone()), ("RESULT_BACKEND", self.database.url.clone())];
        all.push(("PEER_CONF", as_object(&settings).to_string()));
        all.extend(variables);
        Lane {
            rust: rust::app(&self.database.url, &settings).await,
            python: Borrowed::of(all),
            producer,
            worker: self.side,
        }
    }

    /// The same without more.
    pub(crate) async fn lane(&self, producer: Side) -> Lane {
        self.lane_with(producer, Vec::new(), Vec::new()).await
    }
}
