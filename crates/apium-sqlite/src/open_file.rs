//! Opening a file, and ending its threads with the last handle.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

use apium_transport::clock::Clock;
use apium_transport::error::{Error, ErrorKind, Result};
use rusqlite::Connection;
use tokio::sync::OnceCell;

use crate::consumer::maintenance;
use crate::options::Options;
use crate::reader;
use crate::store::store::Store;
use crate::store::{flusher, open, writer};

/// Stack of each thread; SQLite needs little.
const STACK: usize = 512 << 10;
/// Stack of the thread that writes: what follows a chord is made on it, which may call the user's serializer.
const WRITER_STACK: usize = 2 << 20;

type Threads = Mutex<Vec<JoinHandle<()>>>;

/// An open store. Dropping the last handle writes what was asked for, and ends the threads.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) store: Arc<Store>,
    /// Those that write and flush.
    writing: Threads,
    /// Those that read and attend.
    beside: Threads,
    reading: OnceLock<()>,
    attending: OnceCell<()>,
}

impl Opened {
    /// Opens the file, making it when it is missing. Blocks for some milliseconds.
    pub(crate) fn open(options: Options, clock: Clock) -> Result<Arc<Self>> {
        let conn = open::writer(&options)?;
        let store = Arc::new(Store::new(options, clock));
        let opened = Arc::new(Self {
            store,
            writing: Mutex::default(),
            beside: Mutex::default(),
            reading: OnceLock::new(),
            attending: OnceCell::new(),
        });
        opened.start(&opened.writing, "apium-sqlite-f", STACK, |store| flusher::run(&store))?;
        opened.start(&opened.writing, "apium-sqlite-w", WRITER_STACK, move |store| writer::run(&store, conn))?;
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
            self.start(&self.beside, "apium-sqlite-r", STACK, |store| reader::run(&store))?;
        }
        Ok(())
    }

    /// Starts the attendant, once: it is needed as soon as somebody consumes or watches.
    pub(crate) async fn attend(&self) -> Result<()> {
        let begin = || async {
            self.begin_reading()?;
            let doorbell = self.store.hang_doorbell().await;
            self.start(&self.beside, "apium-sqlite-a", STACK, move |store| maintenance::run(&store, doorbell))
        };
        self.attending.get_or_try_init(begin).await.copied()
    }

    fn start(
        &self,
        among: &Threads,
        name: &str,
        stack: usize,
        work: impl FnOnce(Arc<Store>) + Send + 'static,
    ) -> Result<()> {
        let store = self.store.clone();
        let thread = thread::Builder::new().name(name.to_owned()).stack_size(stack).spawn(move || work(store));
        let thread = thread.map_err(|error| {
            Error::new(ErrorKind::Other, format!("start a thread for {}", self.store.options.path.display()))
                .with_source(error)
        })?;
        among.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    fn join(&self, threads: &Threads) {
        let threads = std::mem::take(&mut *threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A thread never holds this handle, so it never waits for itself.
            if thread.join().is_err() {
                tracing::error!(path = %self.store.options.path.display(), "a thread of the store had panicked");
            }
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.store.wake.stop();
        self.store.reads.close();
        // SQLite writes the log back when the last connection to the file closes. Two that close at the same time each see the
        // other, and neither does it.
        self.join(&self.beside);
        self.store.writes.close();
        self.join(&self.writing);
    }
}
