//! The drivers of this build, which `App::builder` and `App::test` start with; and what runs eager calls. A driver
//! of this project is added here; CONTRIBUTING.md lists what else it needs. The API for authors of drivers is in
//! `driver`.

use std::sync::Arc;

#[cfg(feature = "amqp")]
use apium_amqp::AmqpDriver;
use apium_app::app::defaults::AppDefaults;
use apium_app::app::eager_runner::EagerRunner;
use apium_app::macro_support::inventory;
#[cfg(feature = "redis")]
use apium_redis::RedisDriver;
#[cfg(feature = "sqlite")]
use apium_sqlite::SqliteDriver;
use apium_transport::driver::SharedDriver;
#[cfg(feature = "worker")]
use apium_worker::eager::EagerWorker;

inventory::submit! {
    AppDefaults::new(drivers, eager_runner, cfg!(feature = "autodiscover"))
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
