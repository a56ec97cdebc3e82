//! Opening brokers and result backends by address. Those of one file share one store.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use apium_transport::address::Address;
use apium_transport::backend::backend::SharedBackend;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::clock::Clock;
use apium_transport::driver::{Driver, DriverOptions};
use apium_transport::error::Result;
use futures_util::future::BoxFuture;

use crate::backend::backend::SqliteBackend;
use crate::broker::SqliteBroker;
use crate::handle::Handle;
use crate::open_file::Opened;
use crate::options::{Options, SCHEME};

/// Opens `sqlite:///` + absolute path. Brokers and backends of one file that are opened by the same driver share one store in
/// memory; those of different drivers and processes share the file.
#[derive(Debug, Default)]
pub struct SqliteDriver {
    open: Mutex<HashMap<PathBuf, Weak<Opened>>>,
}

impl SqliteDriver {
    /// A driver with nothing open.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a broker, by its own type: for what only this driver has.
    pub fn open_broker(&self, address: Address, options: &DriverOptions) -> Result<SqliteBroker> {
        self.open(address, options).map(SqliteBroker::new)
    }

    /// Opens a result backend, by its own type.
    pub fn open_backend(&self, address: Address, options: &DriverOptions) -> Result<SqliteBackend> {
        self.open(address, options).map(SqliteBackend::new)
    }

    fn open(&self, address: Address, options: &DriverOptions) -> Result<Handle> {
        let clock: Clock = options.clock.clone();
        let options = Options::read(&address, options)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, opened| opened.strong_count() > 0);
        let opened = match open.get(&options.path).and_then(Weak::upgrade) {
            Some(opened) => opened,
            None => {
                let path = options.path.clone();
                let opened = Opened::open(options, clock)?;
                open.insert(path, Arc::downgrade(&opened));
                opened
            }
        };
        Ok(Handle::new(opened, address))
    }
}

impl Driver for SqliteDriver {
    fn schemes(&self) -> &'static [&'static str] {
        &[SCHEME]
    }

    fn broker(&self, address: Address, options: DriverOptions) -> BoxFuture<'_, Result<SharedBroker>> {
        Box::pin(async move { Ok(Arc::new(self.open_broker(address, &options)?) as SharedBroker) })
    }

    fn backend(&self, address: Address, options: DriverOptions) -> BoxFuture<'_, Result<SharedBackend>> {
        Box::pin(async move { Ok(Arc::new(self.open_backend(address, &options)?) as SharedBackend) })
    }
}
