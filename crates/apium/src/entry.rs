//! How an app begins: the drivers of this build, and what runs eager calls.

use std::sync::Arc;

use apium_app::app::app::App;
use apium_app::builder::AppBuilder;
#[cfg(feature = "redis")]
use apium_redis::RedisDriver;
#[cfg(feature = "sqlite")]
use apium_sqlite::SqliteDriver;
use apium_transport::driver::SharedDriver;
use apium_transport::memory::MemoryDriver;
#[cfg(feature = "worker")]
use apium_worker::eager::EagerWorker;
#[cfg(feature = "worker")]
use apium_worker::testing::builder::{AppTest, TestBuilder};

/// Begins an app: `App::builder("proj")`, and `App::test()` with virtual time.
///
/// An extension trait, because the app itself names no driver.
pub trait AppEntry: Sized {
    /// An app's builder with every driver of this build: `memory://`, `sqlite:///…` with the feature `sqlite`, `redis://…` with `redis`. `name` is the
    /// app's, as Celery's `main`.
    fn builder(name: impl Into<String>) -> AppBuilder;

    /// An app for a test: a memory broker and result backend of its own, and a clock that stands still until the test turns it. It
    /// may name another broker of this build.
    #[cfg(feature = "worker")]
    fn test() -> TestBuilder;
}

impl AppEntry for App {
    fn builder(name: impl Into<String>) -> AppBuilder {
        let builder = AppBuilder::new(name, drivers()).autodiscover(cfg!(feature = "autodiscover"));
        #[cfg(feature = "worker")]
        let builder = builder.eager_runner(Arc::new(EagerWorker));
        builder
    }

    #[cfg(feature = "worker")]
    fn test() -> TestBuilder {
        let builder = <Self as AppTest>::test().with(|app| app.autodiscover(cfg!(feature = "autodiscover")));
        #[cfg(feature = "sqlite")]
        let builder = builder.driver(Arc::new(SqliteDriver::new()));
        #[cfg(feature = "redis")]
        let builder = builder.driver(Arc::new(RedisDriver::new()));
        builder
    }
}

/// The drivers of this build.
fn drivers() -> Vec<SharedDriver> {
    vec![
        Arc::new(MemoryDriver::new()),
        #[cfg(feature = "sqlite")]
        Arc::new(SqliteDriver::new()),
        #[cfg(feature = "redis")]
        Arc::new(RedisDriver::new()),
    ]
}
