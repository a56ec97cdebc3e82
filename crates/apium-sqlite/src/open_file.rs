//! An open file: starts its threads, and ends them when the last handle is dropped.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

use apium_transport::clock::Clock;
use apium_transport::error::{Error, ErrorKind, Result};
use rusqlite::Connection;
use tokio::sync::OnceCell;

use crate::consumer::maintenance;
use crate::options::FileOptions;

use crate::store::store::Store;
use crate::store::{flusher, open, writer};

/// Bytes of each thread's stack; SQLite needs little.
const STACK: usize = 512 << 10;
/// Bytes of the writer thread's stack. It builds the follow-ups of chords, which may call a serializer of the user's.
const WRITER_STACK: usize = 2 << 20;

type Threads = Mutex<Vec<JoinHandle<()>>>;

/// A store with its threads. Dropping the last handle runs the requests that wait and ends the threads.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) store: Arc<Store>,
    /// The writer and the flusher.
    writer_threads: Threads,
    /// The reader and the maintenance.
    other_threads: Threads,
    reader_started: OnceLock<()>,
    maintenance_started: OnceCell<()>,
}

impl OpenFile {
    /// Opens the file, and creates it when it is missing. Blocks for some milliseconds.
    pub(crate) fn open(options: FileOptions, clock: Clock) -> Result<Arc<Self>> {
        let opened = open::writer(&options)?;
        let store = Arc::new(Store::new(options, clock));
        let file = Arc::new(Self {
            store,
            writer_threads: Mutex::default(),
            other_threads: Mutex::default(),
            reader_started: OnceLock::new(),
            maintenance_started: OnceCell::new(),
        });
        file.start(&file.writer_threads, "apium-sqlite-f", STACK, |store| flusher::run(&store))?;
        file.start(&file.writer_threads, "apium-sqlite-w", WRITER_STACK, move |store| writer::run(&store, opened))?;
        Ok(file)
    }

    /// Runs `operation`, with the present in microseconds, on the reader thread. The first call starts that thread.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        what: &'static str,
        operation: impl FnOnce(&Connection, i64) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.start_reader()?;
        self.store.read(what, operation).await
    }

    /// Starts the reader thread, once.
    fn start_reader(&self) -> Result<()> {
        if self.reader_started.set(()).is_ok() {
            self.start(&self.other_threads, "apium-sqlite-r", STACK, |store| run_reader(&store))?;
        }
        Ok(())
    }

    /// Starts the maintenance thread, once. It is needed as soon as somebody consumes or watches.
    pub(crate) async fn start_maintenance(&self) -> Result<()> {
        let start = || async {
            self.start_reader()?;
            let doorbell = self.store.open_doorbell().await;
            self.start(&self.other_threads, "apium-sqlite-a", STACK, move |store| maintenance::run(&store, doorbell))
        };
        self.maintenance_started.get_or_try_init(start).await.copied()
    }

    fn start(
        &self,
        threads: &Threads,
        name: &str,
        stack: usize,
        run: impl FnOnce(Arc<Store>) + Send + 'static,
    ) -> Result<()> {
        let store = self.store.clone();
        let thread = thread::Builder::new().name(name.to_owned()).stack_size(stack).spawn(move || run(store));
        let thread = thread.map_err(|error| {
            Error::new(ErrorKind::Other, format!("start a thread for {}", self.store.options.path.display()))
                .with_source(error)
        })?;
        threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    fn join(&self, threads: &Threads) {
        let threads = std::mem::take(&mut *threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // No thread has this handle, so none waits here for itself.
            if thread.join().is_err() {
                tracing::error!(path = %self.store.options.path.display(), "a thread of the store panicked");
            }
        }
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.store.waker.stop();
        self.store.reads.close();
        // SQLite copies the write-ahead log into the file when the last connection closes. Two connections that close
        // at the same time each see the other one, and then neither copies it: so the writer closes last.
        self.join(&self.other_threads);
        self.store.writes.close();
        self.join(&self.writer_threads);
    }
}

/// Serves the requests to read until the store is closed. Long reads must not delay the writer, so
/// they have a thread of their own.
fn run_reader(store: &Store) {
    let _close = store.reads.close_on_drop();
    let mut opened = store.open_reader();
    while let Some(requests) = store.reads.take_all() {
        if opened.is_err() {
            opened = store.open_reader();
        }
        for request in requests {
            if let Ok((_, busy)) = &opened {
                busy.restart(store.options.busy_timeout);
            }
            request(store, opened.as_ref().map(|(conn, _)| conn));
        }
    }
}
