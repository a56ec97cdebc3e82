//! Mailboxes that are being closed. Who opens one of the same name waits until it is gone: the server deletes its queue
//! with its last consumer, and the new one would lose it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::task::JoinHandle;

/// The mailboxes of a broker that are being closed, by the names of their queues.
#[derive(Debug, Default)]
pub(crate) struct MailboxNames(Mutex<HashMap<String, JoinHandle<()>>>);

impl MailboxNames {
    /// A mailbox is being closed.
    pub(crate) fn closing(&self, queue: String, done: JoinHandle<()>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, done| !done.is_finished());
        all.insert(queue, done);
    }

    /// Waits until the mailbox of this name is closed, if it is being closed.
    pub(crate) async fn wait(&self, queue: &str) {
        let done = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(queue);
        if let Some(done) = done {
            // If it panicked, its channel is gone too.
            let _ = done.await;
        }
    }

    /// Waits until all that are being closed are closed.
    pub(crate) async fn wait_for_all(&self) {
        let all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for done in all.into_values() {
            let _ = done.await;
        }
    }
}
