//! The drivers of this build, which `App::builder` and `App::test` start with; and what runs eager calls. A driver
//! of this project is added here; CONTRIBUTING.md lists what else it needs. The API for authors of drivers is in
//! `driver`.
//!
//! With the feature `autodiscover` the linker collects them. Without it the facade has an `App::builder` of its own,
//! and `App::test` knows the memory driver alone.

use std::sync::Arc;

#[cfg(feature = "amqp")]
use apium_amqp::AmqpDriver;
use apium_app::app::app::App;
#[cfg(feature = "autodiscover")]
use apium_app::app::defaults::AppDefaults;
use apium_app::app::eager_runner::EagerRunner;
use apium_app::builder::AppBuilder;
#[cfg(feature = "redis")]
use apium_redis::RedisDriver;
#[cfg(feature = "sqlite")]
use apium_sqlite::SqliteDriver;
use apium_transport::driver::SharedDriver;
use apium_transport::memory::MemoryDriver;
#[cfg(feature = "worker")]
use apium_worker::eager::EagerWorker;

#[cfg(feature = "autodiscover")]
apium_app::macro_support::collect! {
    AppDefaults::new(drivers, eager_runner)
}

/// `App::builder` for programs without the feature `autodiscover`, in which the linker does not collect the drivers of
/// this build. It is in the [`prelude`](crate::prelude). With the feature, `App` has this function itself, which wins.
pub trait AppBuild {
    /// Starts to build an app. `name` is its name in logs and errors. It may use every driver of this build, and has
    /// the tasks that [`AppBuilder::register`] names.
    fn builder(name: impl Into<String>) -> AppBuilder;
}

impl AppBuild for App {
    fn builder(name: impl Into<String>) -> AppBuilder {
        let memory: SharedDriver = Arc::new(MemoryDriver::new());
        let builder = AppBuilder::new(name, std::iter::once(memory).chain(drivers()).collect());
        match eager_runner() {
            Some(runner) => builder.eager_runner(runner),
            None => builder,
        }
    }
}

fn drivers() -> Vec<SharedDriver> {
    vec![
        #[cfg(feature = "sqlite")]
        Arc::new(SqliteDriver::new()),
        #[cfg(feature = "redis")]
        Arc::new(RedisDriver::new()),
        #[cfg(feature = "amqp")]
        Arc::new(AmqpDriver::new()),
    ]
}

#[cfg(feature = "worker")]
fn eager_runner() -> Option<Arc<dyn EagerRunner>> {
    Some(Arc::new(EagerWorker))
}

#[cfg(not(feature = "worker"))]
fn eager_runner() -> Option<Arc<dyn EagerRunner>> {
    None
}
