//! What brokers, backends and consumers share: an open store, the address it was opened by, and whether it was closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use apium_transport::address::Address;
use apium_transport::error::{Error, ErrorKind, Result};
use rusqlite::Connection;

use crate::open_file::OpenFile;
use crate::store::request::RequestCost;
use crate::store::transaction::{Tx, TxResult};

/// A handle on an open store.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    pub(crate) file: Arc<OpenFile>,
    pub(crate) address: Address,
    pub(crate) closed: Arc<AtomicBool>,
}

impl Handle {
    pub(crate) fn new(file: Arc<OpenFile>, address: Address) -> Self {
        let closed = Arc::default();
        file.store.condition.add_handle(&closed);
        Self { file, address, closed }
    }

    pub(crate) fn check_open(&self, what: &str) -> Result<()> {
        self.file.store.check(what)?;
        match self.closed.load(Ordering::Acquire) {
            true => Err(Error::new(ErrorKind::Closed, format!("{what}: this handle of {} was closed", self.address))),
            false => Ok(()),
        }
    }

    /// Closes this handle; the store stays open for others.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.file.store.waker.wake_consumers();
        self.file.store.waker.watch_table.wake_all();
        self.file.store.waker.mailboxes.wake_all();
    }

    /// Runs `operation`, with the present in microseconds, on the reader thread.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        what: &'static str,
        operation: impl FnOnce(&Connection, i64) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.check_open(what)?;
        self.file.read(what, operation).await
    }

    /// Runs `operation` in a transaction of the writer thread.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        what: &'static str,
        cost: RequestCost,
        operation: impl FnMut(&mut Tx<'_>) -> TxResult<T> + Send + 'static,
    ) -> Result<T> {
        self.check_open(what)?;
        self.file.store.write(what, cost, operation).await
    }
}
