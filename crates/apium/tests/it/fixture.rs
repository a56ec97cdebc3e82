//! A driver with a fresh namespace, and the macro that runs a test on every driver.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use apium::driver::{AmqpDriver, MemoryDriver, RedisDriver, SharedDriver, SqliteDriver};
use apium::message::Message;
use apium::prelude::*;
use apium::testing::{TestApp, TestBuilder};
use apium_peers::namespace::{Database, Vhost};
use apium_peers::rabbitmq_server::fresh_vhost;
use apium_peers::redis_server::fresh_database;

use crate::gate::Gate;

/// How long a test waits for a result. With this limit, a missing feature fails the test and does not hang it.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// A driver with a fresh namespace.
pub(crate) enum Fixture {
    Memory,
    Sqlite(tempfile::TempDir),
    Redis(Database, Database),
    /// Results are on Redis.
    Rabbitmq(Vhost, Database),
}

impl Fixture {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(crate) fn redis() -> Self {
        Self::Redis(fresh_database(), fresh_database())
    }

    pub(crate) fn rabbitmq() -> Self {
        Self::Rabbitmq(fresh_vhost(), fresh_database())
    }

    /// Whether it is Redis, where messages are Celery's.
    pub(crate) fn is_redis(&self) -> bool {
        matches!(self, Self::Redis(..))
    }

    /// The address of the broker, and of the backend where that is no other server.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Memory => "memory://".to_owned(),
            Self::Sqlite(dir) => format!("sqlite://{}", dir.path().join("queue.db").display()),
            Self::Redis(database, _) => database.url.clone(),
            Self::Rabbitmq(vhost, _) => vhost.url.clone(),
        }
    }

    /// The address of the backend.
    pub(crate) fn backend_url(&self) -> String {
        match self {
            Self::Rabbitmq(_, database) => database.url.clone(),
            _ => self.url(),
        }
    }

    /// The address of a second store.
    pub(crate) fn other_url(&self) -> String {
        match self {
            Self::Memory => "memory://other".to_owned(),
            Self::Sqlite(dir) => format!("sqlite://{}", dir.path().join("other.db").display()),
            Self::Redis(_, other) | Self::Rabbitmq(_, other) => other.url.clone(),
        }
    }

    /// The driver itself.
    pub(crate) fn driver(&self) -> SharedDriver {
        match self {
            Self::Memory => Arc::new(MemoryDriver::new()),
            Self::Sqlite(_) => Arc::new(SqliteDriver::new()),
            Self::Redis(..) => Arc::new(RedisDriver::new()),
            Self::Rabbitmq(..) => Arc::new(AmqpDriver::new()),
        }
    }

    /// A test app with every task of this binary and a manual clock.
    pub(crate) fn builder(&self) -> TestBuilder {
        self.builder_at(self.url())
    }

    /// Like [`builder`](Self::builder), with the store at another address.
    pub(crate) fn builder_at(&self, url: String) -> TestBuilder {
        App::test().broker(url.clone()).backend(url).state(Records::default()).state(Gate::default())
    }

    /// A test app of [`builder`](Self::builder) with these settings.
    pub(crate) async fn app(&self, settings: &[(&'static str, &'static str)]) -> TestApp {
        let settings = settings_of(settings);
        self.builder().with(|app| app.config(settings)).build().await.unwrap()
    }
}

/// Settings from texts, as a command line has them.
pub(crate) fn settings_of(settings: &[(&str, &str)]) -> Settings {
    let mut found = Settings::default();
    for (name, value) in settings {
        found.set_flag(name, *value, "--setting").unwrap();
    }
    found
}

/// What tasks and hooks have recorded for the test. Injected as state.
#[derive(Clone, Default)]
pub(crate) struct Records(Arc<Mutex<VecDeque<String>>>);

impl Records {
    pub(crate) fn add(&self, text: impl Into<String>) {
        self.0.lock().unwrap().push_back(text.into());
    }

    /// Removes and returns all texts.
    pub(crate) fn take(&self) -> Vec<String> {
        self.0.lock().unwrap().drain(..).collect()
    }
}

/// What the tasks of an app have recorded since the last call.
pub(crate) fn records(app: &App) -> Vec<String> {
    app.states().get::<Records>().unwrap().take()
}

/// The messages in a queue.
pub(crate) async fn waiting(app: &App, queue: &str) -> Vec<Message> {
    let messages = app.broker().queues().unwrap().messages().unwrap();
    messages.peek(queue, 100).await.unwrap().into_iter().map(|out| out.message).collect()
}

/// The only message in the default queue.
pub(crate) async fn only(app: &App) -> Message {
    let mut all = waiting(app, "celery").await;
    assert_eq!(all.len(), 1, "one message is in the queue");
    all.remove(0)
}

/// The last message that was sent for a task.
pub(crate) fn last_sent(app: &TestApp, task: &str) -> Message {
    app.sent_by_name(task).pop().expect("a message was sent").message
}

/// Makes a test for every driver from each function.
macro_rules! on_every_driver {
    ($($(#[$meta:meta])* async fn $name:ident($fixture:ident: &Fixture) $body:block)*) => {
        $($(#[$meta])* async fn $name($fixture: &$crate::fixture::Fixture) $body)*

        mod memory {
            $(#[tokio::test] async fn $name() {
                Box::pin(super::$name(&$crate::fixture::Fixture::Memory)).await;
            })*
        }

        mod sqlite {
            $(#[tokio::test] async fn $name() {
                Box::pin(super::$name(&$crate::fixture::Fixture::sqlite())).await;
            })*
        }

        mod redis {
            $(#[tokio::test] async fn $name() {
                Box::pin(super::$name(&$crate::fixture::Fixture::redis())).await;
            })*
        }
    };
}

/// Makes a test on RabbitMQ from functions that run on every other driver. A test app cannot be drained there, and
/// nobody can look into a queue.
macro_rules! on_rabbitmq {
    ($($name:ident)*) => {
        mod rabbitmq {
            $(#[tokio::test] async fn $name() {
                Box::pin(super::$name(&$crate::fixture::Fixture::rabbitmq())).await;
            })*
        }
    };
}
