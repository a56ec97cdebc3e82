//! What brokers, backends and consumers share: an open store, the address it was opened by, and whether it was closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use apium_transport::address::Address;
use apium_transport::error::{Error, ErrorKind, Result};
use rusqlite::Connection;

use crate::open_file::Opened;
use crate::store::request::Weight;
use crate::store::transaction::{Done, Tx};

/// A handle on an open store.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    pub(crate) opened: Arc<Opened>,
    pub(crate) address: Address,
    pub(crate) closed: Arc<AtomicBool>,
}

impl Handle {
    pub(crate) fn new(opened: Arc<Opened>, address: Address) -> Self {
        Self { opened, address, closed: Arc::default() }
    }

    pub(crate) fn check_open(&self, what: &str) -> Result<()> {
        match self.closed.load(Ordering::Acquire) {
            true => Err(Error::new(ErrorKind::Closed, format!("{what}: this handle of {} was closed", self.address))),
            false => Ok(()),
        }
    }

    /// Closes this handle; the store stays open for others.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.opened.store.wake.all_seats();
        self.opened.store.wake.hub.wake_all();
    }

    /// Runs `work` on the thread that reads.
    pub(crate) async fn reading<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Connection, i64) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.check_open(what)?;
        self.opened.read(what, work).await
    }

    /// Runs `work` in a transaction of the writer.
    pub(crate) async fn writing<T: Send + 'static>(
        &self,
        what: &'static str,
        weight: Weight,
        work: impl FnMut(&mut Tx<'_>) -> Done<T> + Send + 'static,
    ) -> Result<T> {
        self.check_open(what)?;
        self.opened.store.write(what, weight, work).await
    }
}
