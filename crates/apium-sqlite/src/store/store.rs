//! What all threads and handles of one open file share: its options, its clock, and the ways to its threads.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use apium_transport::clock::Clock;
use apium_transport::error::{Error, ErrorKind, Result};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::errors::{Class, Consequence, explain};
use crate::options::FileOptions;
use crate::store::busy::BusyDeadline;
use crate::store::condition::Condition;
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
    pub(crate) condition: Condition,
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
        let (condition, waker) = (Condition::new(clock.clone()), Waker::new());
        Self { options, clock, condition, waker, writes: Inbox::new(), reads: Inbox::new(), flushes: Inbox::new() }
    }

    /// The error that `doing` failed. It makes the store red, or closes it for good, where the error is of that class.
    pub(crate) fn explain(&self, doing: &'static str, error: rusqlite::Error) -> Error {
        let class = Class::of(&error);
        match class.consequence() {
            Consequence::TriedAgain => self.condition.set_failed(doing, class.advice()),
            Consequence::EndOfStore => self.close_for_good(class.advice()),
            Consequence::EndOfMessage => {}
        }
        explain(&self.options.path, doing, error)
    }

    /// Closes the store for good: nothing more is written or read by this process.
    pub(crate) fn close_for_good(&self, reason: &str) {
        if self.condition.set_over(reason) {
            tracing::error!(path = %self.options.path.display(), "the store closes itself for good: {reason}");
            self.waker.wake_consumers();
            self.waker.watch_table.wake_all();
            self.waker.mailboxes.wake_all();
            self.waker.maintenance.notify_one();
        }
    }

    /// Refuses what is to be done when the store closed itself for good.
    pub(crate) fn check(&self, what: &str) -> Result<()> {
        self.condition.check(what, &self.options.path)
    }

    /// Until when a request that is sent now may wait for the transactions of other processes.
    fn request_deadline(&self) -> Instant {
        let now = Instant::now();
        // A limit without end is a year.
        now.checked_add(self.options.busy_timeout).unwrap_or(now + Duration::from_secs(31_536_000))
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
        self.check(what)?;
        let (request, answer) = WriteClosure::request(what, cost, self.request_deadline(), operation);
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
        let cost = cost.outliving_caller();
        let (request, _) = WriteClosure::request(what, cost, self.request_deadline(), operation);
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
        self.check(what)?;
        let (sender, answer) = oneshot::channel();
        let now = self.now();
        let request: ReadRequest = Box::new(move |store, conn| {
            let outcome = match conn {
                Ok(conn) => {
                    let read = operation(conn, now).map_err(|error| store.explain(what, error));
                    if read.is_ok() {
                        store.condition.set_read(what);
                    }
                    read
                }
                Err(error) => Err(Error::new(error.kind(), format!("{error:#}"))),
            };
            // When the caller was cancelled, nobody waits for the answer.
            let _ = sender.send(outcome);
        });
        if self.condition.is_red() && self.writes.is_empty() {
            self.try_to_write();
        }
        self.reads.send(request).await.map_err(|_| self.closed_error(what))?;
        self.receive(what, answer).await
    }

    /// Writes something that changes nothing, to see whether the store can be written again. Whoever only reads would
    /// not find out.
    fn try_to_write(&self) {
        self.write_detached("see whether the store can be written", RequestCost::volatile(1), |tx: &mut Tx<'_>| {
            tx.conn.prepare_cached("UPDATE counters SET one = 1 WHERE one = 1")?.execute([])?;
            Ok(())
        });
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
    pub(crate) fn open_reader(&self) -> Result<(Connection, BusyDeadline)> {
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
