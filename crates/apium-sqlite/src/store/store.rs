//! What all threads and handles of one open file share: its options, its clock, and the ways to its threads.

use std::fmt;
use std::path::PathBuf;

use apium_transport::clock::Clock;
use apium_transport::error::{Error, ErrorKind, Result};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::errors::explain;
use crate::options::FileOptions;
use crate::store::inbox::Inbox;
use crate::store::open;
use crate::store::request::{Committed, ReadRequest, RequestCost, WriteClosure, WriteRequest};
use crate::store::transaction::{Effects, Tx, TxResult};
use crate::wake::ringer::Ringer;
use crate::wake::waker::Waker;

/// What all threads and handles of one file share.
pub(crate) struct Store {
    pub(crate) options: FileOptions,
    pub(crate) clock: Clock,
    /// Whom to wake after a commit.
    pub(crate) waker: Waker,
    pub(crate) writes: Inbox<Box<dyn WriteRequest>>,
    pub(crate) reads: Inbox<ReadRequest>,
    pub(crate) flushes: Inbox<Committed>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.options.path).finish_non_exhaustive()
    }
}

impl Store {
    pub(crate) fn new(options: FileOptions, clock: Clock) -> Self {
        let waker = Waker::new();
        Self { options, clock, waker, writes: Inbox::new(), reads: Inbox::new(), flushes: Inbox::new() }
    }

    /// Runs `operation` in the next transaction, and returns its value after the commit.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        what: &'static str,
        cost: RequestCost,
        operation: impl FnMut(&mut Tx<'_>) -> TxResult<T> + Send + 'static,
    ) -> Result<T> {
        let answer = self.send_write(what, cost, operation).await?;
        self.receive(what, answer).await
    }

    /// Sends `operation` to the writer; the answer comes after the commit. Cancel-safe: a dropped call sends nothing.
    pub(crate) async fn send_write<T: Send + 'static>(
        &self,
        what: &'static str,
        cost: RequestCost,
        operation: impl FnMut(&mut Tx<'_>) -> TxResult<T> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T>>> {
        let (request, answer) = WriteClosure::request(what, cost, operation);
        self.writes.send(request).await.map_err(|_| self.closed_error(what))?;
        Ok(answer)
    }

    /// Sends `operation` to the writer without waiting, not even for the answer.
    pub(crate) fn write_detached<T: Send + 'static>(
        &self,
        what: &'static str,
        cost: RequestCost,
        operation: impl FnMut(&mut Tx<'_>) -> TxResult<T> + Send + 'static,
    ) {
        let (request, _) = WriteClosure::request(what, cost, operation);
        if self.writes.send_now(request).is_err() {
            tracing::debug!(what, "could not write: the store is closed already");
        }
    }

    /// Waits for the answer of a thread.
    pub(crate) async fn receive<T>(&self, what: &str, answer: oneshot::Receiver<Result<T>>) -> Result<T> {
        answer.await.unwrap_or_else(|_| Err(self.closed_error(what)))
    }

    /// Runs `operation`, with the present in microseconds, on the reader thread.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        what: &'static str,
        operation: impl FnOnce(&Connection, i64) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, answer) = oneshot::channel();
        let now = self.now();
        let path = self.options.path.clone();
        let request: ReadRequest = Box::new(move |conn| {
            let outcome = match conn {
                Ok(conn) => operation(conn, now).map_err(|error| explain(&path, what, error)),
                Err(error) => Err(Error::new(error.kind(), format!("{error:#}"))),
            };
            // When the caller was cancelled, nobody waits for the answer.
            let _ = sender.send(outcome);
        });
        self.reads.send(request).await.map_err(|_| self.closed_error(what))?;
        self.receive(what, answer).await
    }

    /// Wakes the consumers and watchers of this process and of others after a commit.
    pub(crate) fn announce(&self, ringer: &mut Ringer, effects: Effects) {
        for path in ringer.ring(&effects, &self.waker.other_doorbells()) {
            self.remove_doorbell(path);
        }
        self.waker.notify(effects);
    }

    /// The present in microseconds.
    pub(crate) fn now(&self) -> i64 {
        self.clock.now().as_microsecond()
    }

    /// Opens a connection for reading.
    pub(crate) fn open_reader(&self) -> Result<Connection> {
        open::reader(&self.options)
    }

    /// The folder beside the file that holds the lock files of consumers and the doorbells of processes.
    pub(crate) fn live_folder(&self) -> PathBuf {
        let mut name = self.options.path.clone().into_os_string();
        name.push("-live");
        name.into()
    }

    fn closed_error(&self, what: &str) -> Error {
        Error::new(ErrorKind::Closed, format!("{what} in {}: the store was closed", self.options.path.display()))
    }
}
