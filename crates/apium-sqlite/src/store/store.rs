//! What all threads and handles of one open file share.

use std::fmt;
use std::path::PathBuf;

use apium_transport::clock::Clock;
use apium_transport::error::{Error, ErrorKind, Result};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::errors::explain;
use crate::options::Options;
use crate::store::inbox::Inbox;
use crate::store::open;
use crate::store::request::{Committed, Job, ReadJob, Weight, Write};
use crate::store::transaction::{Done, Effects, Tx};
use crate::wake::ringer::Ringer;
use crate::wake::waker::Wake;

/// What all threads and handles of one file share.
pub(crate) struct Store {
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    /// Whom to wake after a commit.
    pub(crate) wake: Wake,
    pub(crate) writes: Inbox<Box<dyn Job>>,
    pub(crate) reads: Inbox<ReadJob>,
    pub(crate) flushes: Inbox<Committed>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.options.path).finish_non_exhaustive()
    }
}

impl Store {
    pub(crate) fn new(options: Options, clock: Clock) -> Self {
        let wake = Wake::new();
        Self { options, clock, wake, writes: Inbox::new(), reads: Inbox::new(), flushes: Inbox::new() }
    }

    /// Runs `work` in the next transaction and returns what it says, once that is committed.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        what: &'static str,
        weight: Weight,
        work: impl FnMut(&mut Tx<'_>) -> Done<T> + Send + 'static,
    ) -> Result<T> {
        let answer = self.write_soon(what, weight, work).await?;
        self.answered(what, answer).await
    }

    /// Hands `work` to the writer; the answer comes after the commit. Cancel-safe: it is handed over or it is not.
    pub(crate) async fn write_soon<T: Send + 'static>(
        &self,
        what: &'static str,
        weight: Weight,
        work: impl FnMut(&mut Tx<'_>) -> Done<T> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T>>> {
        let (job, answer) = Write::request(what, weight, work);
        self.writes.send(job).await.map_err(|_| self.ended(what))?;
        Ok(answer)
    }

    /// Hands `work` to the writer without waiting for room or for the answer.
    pub(crate) fn write_unasked<T: Send + 'static>(
        &self,
        what: &'static str,
        weight: Weight,
        work: impl FnMut(&mut Tx<'_>) -> Done<T> + Send + 'static,
    ) {
        let (job, _) = Write::request(what, weight, work);
        if self.writes.send_now(job).is_err() {
            tracing::debug!(what, "the store is closed already");
        }
    }

    /// Waits for an answer of the writer.
    pub(crate) async fn answered<T>(&self, what: &str, answer: oneshot::Receiver<Result<T>>) -> Result<T> {
        answer.await.unwrap_or_else(|_| Err(self.ended(what)))
    }

    /// Runs `work`, with the instant in microseconds, on the thread that reads.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Connection, i64) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (tell, answer) = oneshot::channel();
        let now = self.now();
        let path = self.options.path.clone();
        let job: ReadJob = Box::new(move |conn| {
            let outcome = match conn {
                Ok(conn) => work(conn, now).map_err(|error| explain(&path, what, error)),
                Err(error) => Err(Error::new(error.kind(), error.to_string())),
            };
            // Nobody waits any more when the caller was cancelled.
            let _ = tell.send(outcome);
        });
        self.reads.send(job).await.map_err(|_| self.ended(what))?;
        self.answered(what, answer).await
    }

    /// Tells this process and the others what is new.
    pub(crate) fn tell(&self, ringer: &mut Ringer, effects: Effects) {
        for path in ringer.ring(&effects, &self.wake.other_bells()) {
            self.forget_doorbell(path);
        }
        self.wake.told(effects);
    }

    /// The instant in microseconds.
    pub(crate) fn now(&self) -> i64 {
        self.clock.now().as_microsecond()
    }

    /// Opens a connection for reading.
    pub(crate) fn open_reader(&self) -> Result<Connection> {
        open::reader(&self.options)
    }

    /// The folder beside the file for what lives only as long as processes do: lock files of consumers, doorbells.
    pub(crate) fn live_folder(&self) -> PathBuf {
        let mut name = self.options.path.clone().into_os_string();
        name.push("-live");
        name.into()
    }

    fn ended(&self, what: &str) -> Error {
        Error::new(ErrorKind::Closed, format!("{what} in {}: the store was closed", self.options.path.display()))
    }
}
