//! Where a guide test runs: one driver in a namespace of its own, the same test body for each driver.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use apium::driver::{MemoryDriver, RedisDriver, SharedDriver, SqliteDriver};
use apium::message::Message;
use apium::prelude::*;
use apium::testing::{TestApp, TestBuilder};
use apium_peers::database::Database;
use apium_peers::redis_server::fresh_database;

use crate::gate::Gate;

/// How long a test waits for a result that must come: without it a feature that is off would hang rather than fail.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// One driver with a fresh namespace.
pub(crate) enum Ground {
    Memory,
    Sqlite(tempfile::TempDir),
    Redis(Database, Database),
}

impl Ground {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(crate) fn redis() -> Self {
        Self::Redis(fresh_database(), fresh_database())
    }

    /// The address of broker and backend.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Memory => "memory://".to_owned(),
            Self::Sqlite(dir) => format!("sqlite://{}", dir.path().join("queue.db").display()),
            Self::Redis(database, _) => database.url.clone(),
        }
    }

    /// The address of a second store.
    pub(crate) fn other_url(&self) -> String {
        match self {
            Self::Memory => "memory://other".to_owned(),
            Self::Sqlite(dir) => format!("sqlite://{}", dir.path().join("other.db").display()),
            Self::Redis(_, other) => other.url.clone(),
        }
    }

    /// The driver itself.
    pub(crate) fn driver(&self) -> SharedDriver {
        match self {
            Self::Memory => Arc::new(MemoryDriver::new()),
            Self::Sqlite(_) => Arc::new(SqliteDriver::new()),
            Self::Redis(..) => Arc::new(RedisDriver::new()),
        }
    }

    /// A test app with every task of this binary, on a clock that stands.
    pub(crate) fn builder(&self) -> TestBuilder {
        self.builder_at(self.url())
    }

    /// The same on another store.
    pub(crate) fn builder_at(&self, url: String) -> TestBuilder {
        App::test().broker(url.clone()).backend(url).state(Notes::default()).state(Gate::default())
    }

    /// The same, built with some settings.
    pub(crate) async fn app(&self, settings: &[(&'static str, &'static str)]) -> TestApp {
        let given = given(settings);
        self.builder().with(|app| app.config(given)).build().await.unwrap()
    }
}

/// Settings as a command line gives them: texts.
pub(crate) fn given(settings: &[(&str, &str)]) -> Settings {
    let mut given = Settings::default();
    for (name, value) in settings {
        given.set_flag(name, *value, "--setting").unwrap();
    }
    given
}

/// What tasks and hooks note down, for the test to look at. Injected as state.
#[derive(Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<VecDeque<String>>>);

impl Notes {
    pub(crate) fn add(&self, note: impl Into<String>) {
        self.0.lock().unwrap().push_back(note.into());
    }

    /// All notes since the last look.
    pub(crate) fn take(&self) -> Vec<String> {
        self.0.lock().unwrap().drain(..).collect()
    }
}

/// What an app's tasks have noted since the last look.
pub(crate) fn notes(app: &App) -> Vec<String> {
    app.states().get::<Notes>().unwrap().take()
}

/// The messages that wait in a queue.
pub(crate) async fn waiting(app: &App, queue: &str) -> Vec<Message> {
    let queues = app.broker().queues().unwrap();
    queues.peek(queue, 100).await.unwrap().into_iter().map(|out| out.message).collect()
}

/// The one message that waits in the default queue.
pub(crate) async fn only(app: &App) -> Message {
    let mut all = waiting(app, "celery").await;
    assert_eq!(all.len(), 1, "one message waits");
    all.remove(0)
}

/// The message that was sent last for a task.
pub(crate) fn last_sent(app: &TestApp, task: &str) -> Message {
    app.sent_by_name(task).pop().expect("a message was sent").message
}

/// Makes of each test one for every driver.
macro_rules! on_every_driver {
    ($($(#[$meta:meta])* async fn $name:ident($ground:ident: &Ground) $body:block)*) => {
        $($(#[$meta])* async fn $name($ground: &$crate::ground::Ground) $body)*

        mod memory {
            $(#[tokio::test] async fn $name() {
                Box::pin(super::$name(&$crate::ground::Ground::Memory)).await;
            })*
        }

        mod sqlite {
            $(#[tokio::test] async fn $name() {
                Box::pin(super::$name(&$crate::ground::Ground::sqlite())).await;
            })*
        }

        mod redis {
            $(#[tokio::test] async fn $name() {
                Box::pin(super::$name(&$crate::ground::Ground::redis())).await;
            })*
        }
    };
}
