//! Whom to wake after a commit: the consumers and watchers of this process directly, other processes by their
//! doorbells.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rusqlite::Connection;
use tokio::sync::Notify;

use crate::backend::watch_table::LockedWatchTable;
use crate::consumer::state::ConsumerState;
use crate::store::transaction::Effects;
use crate::wake::mailboxes::{Mailboxes, OwnMailbox};

/// The counters behind [`WakeCauses`].
#[derive(Debug, Default)]
pub(crate) struct WakeCounts {
    /// The doorbell rang.
    pub(crate) doorbell: AtomicU64,
    /// Polling found that another process had committed.
    pub(crate) poll: AtomicU64,
}

/// How often another process woke this one, by cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WakeCauses {
    /// The doorbell of this process rang.
    pub doorbell: u64,
    /// Polling found that another process had committed.
    pub poll: u64,
}

/// The paths of doorbells.
#[derive(Debug, Default)]
struct Doorbells {
    own: Option<PathBuf>,
    /// The value of the counter `listener` when `others` was read.
    version: Option<i64>,
    others: Arc<Vec<PathBuf>>,
}

/// The consumers and watchers of this process.
#[derive(Debug)]
pub(crate) struct Waker {
    consumers: Mutex<Vec<Weak<ConsumerState>>>,
    pub(crate) watch_table: LockedWatchTable,
    pub(crate) mailboxes: Mailboxes,
    doorbells: Mutex<Doorbells>,
    pub(crate) counts: WakeCounts,
    stopped: AtomicBool,
    /// Wakes the maintenance thread: there is a new consumer or watch, or the store is being closed.
    pub(crate) maintenance: Notify,
}

impl Waker {
    pub(crate) fn new() -> Self {
        Self {
            consumers: Mutex::default(),
            watch_table: LockedWatchTable::default(),
            mailboxes: Mailboxes::default(),
            doorbells: Mutex::default(),
            counts: WakeCounts::default(),
            stopped: AtomicBool::new(false),
            maintenance: Notify::new(),
        }
    }

    /// How often another process woke this one.
    pub(crate) fn causes(&self) -> WakeCauses {
        WakeCauses {
            doorbell: self.counts.doorbell.load(Ordering::Relaxed),
            poll: self.counts.poll.load(Ordering::Relaxed),
        }
    }

    /// Adds a consumer of this process.
    pub(crate) fn add_consumer(&self, consumer: &Arc<ConsumerState>) {
        let mut consumers = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        consumers.retain(|consumer| consumer.strong_count() > 0);
        consumers.push(Arc::downgrade(consumer));
        drop(consumers);
        self.maintenance.notify_one();
    }

    /// Adds a mailbox of this process.
    pub(crate) fn add_mailbox(&self, mailbox: &Arc<OwnMailbox>) {
        self.mailboxes.add(mailbox);
        self.maintenance.notify_one();
    }

    /// The consumers of this process that are not closed.
    pub(crate) fn consumers(&self) -> Vec<Arc<ConsumerState>> {
        let consumers = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        consumers.iter().filter_map(Weak::upgrade).filter(|consumer| !consumer.is_closed()).collect()
    }

    /// Wakes the consumers and watchers that a commit of this process concerns.
    pub(crate) fn notify(&self, effects: Effects) {
        if effects.earlier_due || !effects.ready.is_empty() {
            for consumer in self.consumers() {
                if effects.earlier_due || consumer.reads_any(&effects.ready) {
                    consumer.notify.notify_one();
                }
            }
        }
        if !effects.results.is_empty() {
            self.watch_table.notify(&effects.results);
        }
        if !effects.broadcasts.is_empty() {
            self.mailboxes.wake(&effects.broadcasts);
        }
    }

    /// Wakes every consumer: another process may have committed something for it, or a handle was closed.
    pub(crate) fn wake_consumers(&self) {
        for consumer in self.consumers() {
            consumer.notify.notify_one();
        }
    }

    fn doorbells(&self) -> MutexGuard<'_, Doorbells> {
        self.doorbells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The doorbells of other processes.
    pub(crate) fn other_doorbells(&self) -> Arc<Vec<PathBuf>> {
        self.doorbells().others.clone()
    }

    /// Reads the doorbells of other processes from the store, if they have changed.
    pub(crate) fn read_doorbells(&self, conn: &Connection, version: i64) -> rusqlite::Result<()> {
        let mut doorbells = self.doorbells();
        if doorbells.version != Some(version) {
            let mut select = conn.prepare_cached("SELECT path FROM listener")?;
            let paths: Vec<String> = select.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
            let others =
                paths.into_iter().map(PathBuf::from).filter(|path| Some(path) != doorbells.own.as_ref()).collect();
            doorbells.others = Arc::new(others);
            doorbells.version = Some(version);
        }
        Ok(())
    }

    /// Sets the doorbell of this process.
    pub(crate) fn set_own_doorbell(&self, path: &Path) {
        self.doorbells().own = Some(path.to_owned());
    }

    /// Ends the maintenance thread. There are no watches any more: their streams keep the store open.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.maintenance.notify_one();
    }

    /// Whether the store is being closed.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}
