//! One open file in one process: the threads that write and flush, the thread that reads, and the thread that attends to
//! leases, doorbells and due times. Brokers and backends of the same file share it.

pub(crate) mod attendant;
mod flusher;
mod inbox;
mod job;
mod open;
mod reader;
pub(crate) mod transaction;
mod writer;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

use apium_transport::clock::Clock;
use apium_transport::error::{Error, ErrorKind, Result};
use rusqlite::Connection;
use tokio::sync::{OnceCell, oneshot};

use crate::errors::explain;
use crate::options::Options;
use crate::store::flusher::Committed;
use crate::store::inbox::Inbox;
use crate::store::job::{Job, Write};
use crate::store::reader::ReadJob;
use crate::store::transaction::{Done, Effects, Tx};
use crate::wake::Wake;
use crate::wake::bell::Ringer;

pub(crate) use crate::store::job::Weight;

/// Stack of each thread; SQLite needs little.
const STACK: usize = 512 << 10;

/// What all threads and handles of one file share.
pub(crate) struct Store {
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    /// Whom to wake after a commit.
    pub(crate) wake: Wake,
    writes: Inbox<Box<dyn Job>>,
    reads: Inbox<ReadJob>,
    flushes: Inbox<Committed>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.options.path).finish_non_exhaustive()
    }
}

impl Store {
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
    fn tell(&self, ringer: &mut Ringer, effects: Effects) {
        for path in ringer.ring(&effects, &self.wake) {
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

/// An open store. Dropping the last handle writes what was asked for, and ends the threads.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) store: Arc<Store>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    reading: OnceLock<()>,
    attending: OnceCell<()>,
}

impl Opened {
    /// Opens the file, making it when it is missing. Blocks for some milliseconds.
    pub(crate) fn open(options: Options, clock: Clock) -> Result<Arc<Self>> {
        let conn = open::writer(&options)?;
        let wake = Wake::new();
        let store =
            Arc::new(Store { options, clock, wake, writes: Inbox::new(), reads: Inbox::new(), flushes: Inbox::new() });
        let opened =
            Arc::new(Self { store, threads: Mutex::default(), reading: OnceLock::new(), attending: OnceCell::new() });
        opened.start("apium-sqlite-f", |store| flusher::run(&store))?;
        opened.start("apium-sqlite-w", move |store| writer::run(&store, conn))?;
        Ok(opened)
    }

    /// Runs `work` on the thread that reads, which is started by the first such request.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Connection, i64) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.begin_reading()?;
        self.store.read(what, work).await
    }

    /// Starts the thread that reads, once.
    pub(crate) fn begin_reading(&self) -> Result<()> {
        if self.reading.set(()).is_ok() {
            self.start("apium-sqlite-r", |store| reader::run(&store))?;
        }
        Ok(())
    }

    /// Starts the attendant, once: it is needed as soon as somebody consumes or watches.
    pub(crate) async fn attend(&self) -> Result<()> {
        let begin = || async {
            self.begin_reading()?;
            let doorbell = self.store.hang_doorbell().await;
            self.start("apium-sqlite-a", move |store| attendant::run(&store, doorbell))
        };
        self.attending.get_or_try_init(begin).await.copied()
    }

    fn start(&self, name: &str, work: impl FnOnce(Arc<Store>) + Send + 'static) -> Result<()> {
        let store = self.store.clone();
        let thread = thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(move || work(store));
        let thread = thread.map_err(|error| {
            Error::new(ErrorKind::Other, format!("start a thread for {}", self.store.options.path.display()))
                .with_source(error)
        })?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.store.wake.stop();
        self.store.reads.close();
        self.store.writes.close();
        let threads = self.threads.get_mut().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // A thread never holds this handle, so it never waits for itself.
            if thread.join().is_err() {
                tracing::error!(path = %self.store.options.path.display(), "a thread of the store had panicked");
            }
        }
    }
}
