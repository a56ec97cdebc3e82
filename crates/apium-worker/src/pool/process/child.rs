//! A child, as its worker sees it: what runs in it, and how to reach it.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use apium_app::context::context::Ctx;
use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Mutex as AsyncMutex, Notify, oneshot};

use crate::pool::process::messages::EndedHead;

/// The end of a run, as the child said it.
#[derive(Debug)]
pub(crate) struct EndedRun {
    pub(crate) head: EndedHead,
    pub(crate) value: Bytes,
}

/// A child process.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: u32,
    writer: AsyncMutex<OwnedWriteHalf>,
    runs: Mutex<Vec<InFlight>>,
    /// How many runs began in it.
    begun: AtomicU64,
    /// Its memory in KiB, after the last run that told it.
    memory: AtomicU64,
    /// No run comes any more.
    pub(crate) stop: Notify,
    /// How it ended, and with how many runs in it.
    exit: OnceLock<(String, usize)>,
}

/// A run that was sent to a child.
#[derive(Debug)]
struct InFlight {
    run: u64,
    began: Arc<AtomicBool>,
    ended: oneshot::Sender<EndedRun>,
    ctx: Ctx,
}

/// A run in a child, until its end is known. When it is dropped, nobody waits for that end.
pub(crate) struct Flight<'a> {
    child: &'a Child,
    run: u64,
    began: Arc<AtomicBool>,
    /// Its end; an error when the child is gone.
    pub(crate) end_of_run: oneshot::Receiver<EndedRun>,
}

impl Flight<'_> {
    /// Whether the child has begun it.
    pub(crate) fn has_begun(&self) -> bool {
        self.began.load(Ordering::Acquire)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.child.lock().retain(|flight| flight.run != self.run);
    }
}

impl Child {
    pub(crate) fn new(pid: u32, writer: OwnedWriteHalf) -> Self {
        Self {
            pid,
            writer: AsyncMutex::new(writer),
            runs: Mutex::default(),
            begun: AtomicU64::new(0),
            memory: AtomicU64::new(0),
            stop: Notify::new(),
            exit: OnceLock::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<InFlight>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a frame. When this is dropped before it ends, the child can be used no more.
    pub(crate) async fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.writer.lock().await.write_all(frame).await
    }

    /// Expects the end of a run that is about to be sent.
    pub(crate) fn expect(&self, run: u64, ctx: &Ctx) -> Flight<'_> {
        let (sender, end_of_run) = oneshot::channel();
        let began = Arc::new(AtomicBool::new(false));
        let flight = Flight { child: self, run, began: began.clone(), end_of_run };
        let mut runs = self.lock();
        // The sender of a child that is gone is dropped here, and whoever waits learns that.
        if self.exit.get().is_none() {
            runs.push(InFlight { run, began, ended: sender, ctx: ctx.clone() });
        }
        flight
    }

    /// The child has begun a run.
    pub(crate) fn began(&self, run: u64) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        if let Some(flight) = self.lock().iter().find(|flight| flight.run == run) {
            flight.began.store(true, Ordering::Release);
        }
    }

    /// The context of a run in it.
    pub(crate) fn ctx_of(&self, run: u64) -> Option<Ctx> {
        self.lock().iter().find(|flight| flight.run == run).map(|flight| flight.ctx.clone())
    }

    /// A run is over.
    pub(crate) fn run_ended(&self, ended: EndedRun) {
        if let Some(memory) = ended.head.memory {
            self.memory.store(memory, Ordering::Relaxed);
        }
        let mut runs = self.lock();
        let at = runs.iter().position(|flight| flight.run == ended.head.run);
        // Nobody waits for a run that was given up.
        if let Some(flight) = at.map(|at| runs.swap_remove(at)) {
            drop(runs);
            // As above.
            let _ = flight.ended.send(ended);
        }
    }

    /// The child is gone, and ended in this way. Its runs are lost.
    pub(crate) fn gone(&self, exit: String) {
        let mut runs = self.lock();
        // It goes once.
        let _ = self.exit.set((exit, runs.len()));
        runs.clear();
    }

    /// How it ended, and whether several runs were in it; `None` while it lives.
    pub(crate) fn exit(&self) -> Option<(&str, bool)> {
        self.exit.get().map(|(exit, runs)| (&**exit, *runs > 1))
    }

    /// How many runs began in it.
    pub(crate) fn begun_runs(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Its memory in KiB when it last said it.
    pub(crate) fn memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }
}
