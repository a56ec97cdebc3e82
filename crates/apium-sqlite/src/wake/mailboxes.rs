//! The mailboxes of this process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use crate::publish::broadcast::Hearing;

/// A mailbox that somebody has.
#[derive(Debug)]
pub(crate) struct OwnMailbox {
    pub(crate) id: i64,
    pub(crate) hearing: Hearing,
    /// There may be messages.
    pub(crate) notify: Notify,
    /// Whether others had taken it for gone, so that messages may be missing.
    pub(crate) was_gone: AtomicBool,
}

impl OwnMailbox {
    pub(crate) fn new(id: i64, hearing: Hearing) -> Arc<Self> {
        Arc::new(Self { id, hearing, notify: Notify::new(), was_gone: AtomicBool::new(false) })
    }

    /// Others had taken it for gone.
    pub(crate) fn set_gone(&self) {
        self.was_gone.store(true, Ordering::Release);
    }
}

/// All mailboxes of one store in this process.
#[derive(Debug, Default)]
pub(crate) struct Mailboxes(Mutex<Vec<Weak<OwnMailbox>>>);

impl Mailboxes {
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<OwnMailbox>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, state: &Arc<OwnMailbox>) {
        let mut mailboxes = self.lock();
        mailboxes.retain(|mailbox| mailbox.strong_count() > 0);
        mailboxes.push(Arc::downgrade(state));
    }

    /// Those that are open.
    pub(crate) fn open(&self) -> Vec<Arc<OwnMailbox>> {
        self.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Wakes those that hear one of these exchanges.
    pub(crate) fn wake(&self, exchanges: &[Arc<str>]) {
        for mailbox in self.open() {
            if exchanges.contains(&mailbox.hearing.exchange) {
                mailbox.notify.notify_one();
            }
        }
    }

    /// Wakes all: another process may have sent something, or a handle was closed.
    pub(crate) fn wake_all(&self) {
        for mailbox in self.open() {
            mailbox.notify.notify_one();
        }
    }
}
