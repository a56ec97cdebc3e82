//! Who is woken after a commit: consumers and watchers of this process at once, other processes by their doorbells.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rusqlite::Connection;
use tokio::sync::Notify;

use crate::backend::watch_table::Hub;
use crate::consumer::state::Seat;
use crate::store::transaction::Effects;

/// Counts of [`WakeCauses`].
#[derive(Debug, Default)]
pub(crate) struct Causes {
    /// A doorbell rang.
    pub(crate) bell: AtomicU64,
    /// Polling found that another process had committed.
    pub(crate) poll: AtomicU64,
}

/// How often something of another process woke this one, by cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WakeCauses {
    /// Its doorbell rang.
    pub doorbell: u64,
    /// Polling found that another process had committed.
    pub poll: u64,
}

/// Doorbells.
#[derive(Debug, Default)]
struct Bells {
    own: Option<PathBuf>,
    /// The counter of `listener` at which `others` were read.
    version: Option<i64>,
    others: Arc<Vec<PathBuf>>,
}

/// The consumers and watchers of this process.
#[derive(Debug)]
pub(crate) struct Wake {
    seats: Mutex<Vec<Weak<Seat>>>,
    pub(crate) hub: Hub,
    bells: Mutex<Bells>,
    pub(crate) causes: Causes,
    stopped: AtomicBool,
    /// Wakes the attendant: something it minds has changed.
    pub(crate) attendant: Notify,
}

impl Wake {
    pub(crate) fn new() -> Self {
        Self {
            seats: Mutex::default(),
            hub: Hub::default(),
            bells: Mutex::default(),
            causes: Causes::default(),
            stopped: AtomicBool::new(false),
            attendant: Notify::new(),
        }
    }

    /// How often something of another process woke this one.
    pub(crate) fn causes(&self) -> WakeCauses {
        WakeCauses {
            doorbell: self.causes.bell.load(Ordering::Relaxed),
            poll: self.causes.poll.load(Ordering::Relaxed),
        }
    }

    /// Adds a consumer of this process.
    pub(crate) fn seat(&self, seat: &Arc<Seat>) {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        seats.retain(|seat| seat.strong_count() > 0);
        seats.push(Arc::downgrade(seat));
        drop(seats);
        self.attendant.notify_one();
    }

    /// The consumers of this process that are not closed.
    pub(crate) fn seats(&self) -> Vec<Arc<Seat>> {
        let seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        seats.iter().filter_map(Weak::upgrade).filter(|seat| !seat.has_left()).collect()
    }

    /// Wakes those whom a commit of this process concerns.
    pub(crate) fn told(&self, effects: Effects) {
        if effects.earlier || !effects.ready.is_empty() {
            for seat in self.seats() {
                if effects.earlier || seat.reads_any(&effects.ready) {
                    seat.notify.notify_one();
                }
            }
        }
        if !effects.results.is_empty() {
            self.hub.tell(&effects.results);
        }
    }

    /// Wakes every consumer: another process may have committed something for it.
    pub(crate) fn all_seats(&self) {
        for seat in self.seats() {
            seat.notify.notify_one();
        }
    }

    fn bells(&self) -> MutexGuard<'_, Bells> {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The doorbells of other processes.
    pub(crate) fn other_bells(&self) -> Arc<Vec<PathBuf>> {
        self.bells().others.clone()
    }

    /// Reads the doorbells of other processes, when they have changed.
    pub(crate) fn learn_bells(&self, conn: &Connection, version: i64) -> rusqlite::Result<()> {
        let mut bells = self.bells();
        if bells.version != Some(version) {
            let mut select = conn.prepare_cached("SELECT path FROM listener")?;
            let paths: Vec<String> = select.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
            let others = paths.into_iter().map(PathBuf::from).filter(|path| Some(path) != bells.own.as_ref()).collect();
            bells.others = Arc::new(others);
            bells.version = Some(version);
        }
        Ok(())
    }

    /// Notes where this process listens.
    pub(crate) fn set_own_bell(&self, path: &Path) {
        self.bells().own = Some(path.to_owned());
    }

    /// Ends the attendant and the streams of watchers.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.hub.close();
        self.attendant.notify_one();
    }

    /// Whether the store is being closed.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}
