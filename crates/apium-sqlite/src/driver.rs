//! Opens brokers and result backends by address. Those of one file share one store.

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
use crate::open_file::OpenFile;
use crate::options::{FileOptions, SCHEME};

/// Opens addresses of the form `sqlite:///` + absolute path. Brokers and backends that one driver opens for one file
/// share its threads and connections; those of other drivers and processes share the file alone.
#[derive(Debug, Default)]
pub struct SqliteDriver {
    open: Mutex<HashMap<PathBuf, Weak<OpenFile>>>,
}

impl SqliteDriver {
    /// A driver with nothing open.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a broker as its own type, for what only this driver offers. Creates the file when it is missing, and
    /// blocks for some milliseconds.
    ///
    /// # Errors
    ///
    /// `Address` when the address cannot be read; `Refused`, `NotFound`, `Corrupt` or `Timeout` when the file cannot be
    /// opened.
    pub fn open_broker(&self, address: Address, options: &DriverOptions) -> Result<SqliteBroker> {
        self.open(address, options).map(SqliteBroker::new)
    }

    /// Opens a result backend as its own type, with the same effects and errors as [`open_broker`](Self::open_broker).
    pub fn open_backend(&self, address: Address, options: &DriverOptions) -> Result<SqliteBackend> {
        self.open(address, options).map(SqliteBackend::new)
    }

    fn open(&self, address: Address, options: &DriverOptions) -> Result<Handle> {
        let clock: Clock = options.clock.clone();
        let options = FileOptions::read(&address, options)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, file| file.strong_count() > 0);
        let file = match open.get(&options.path).and_then(Weak::upgrade) {
            Some(file) => file,
            None => {
                let path = options.path.clone();
                let file = OpenFile::open(options, clock)?;
                open.insert(path, Arc::downgrade(&file));
                file
            }
        };
        Ok(Handle::new(file, address))
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
