//! The stream of a watch: what a driver returns to whoever watches. Dropping it ends the watch.

use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use apium_protocol::result::document::ResultDocument;
use futures_core::Stream;

use crate::backend::watch_table::{WatchChanges, WatchTable};
use crate::error::Result;

/// What keeps a [`WatchTable`] behind a lock. Its streams keep it alive.
pub trait WatchTableOwner: Send + Sync + 'static {
    /// Names a task.
    type Id: Clone + Eq + Hash;

    /// Locks the table, calls `change`, and carries out the changes.
    fn change_watches<T>(&self, change: impl FnOnce(&mut WatchTable<Self::Id>, &mut WatchChanges<Self::Id>) -> T) -> T;
}

/// The states of some tasks, as one watch of a table sees them.
#[derive(Debug)]
pub struct WatchStream<O: WatchTableOwner> {
    owner: Arc<O>,
    number: u64,
}

impl<O: WatchTableOwner> WatchStream<O> {
    /// The stream of the watch that was added to the table with this number.
    pub fn new(owner: Arc<O>, number: u64) -> Self {
        Self { owner, number }
    }
}

impl<O: WatchTableOwner> Stream for WatchStream<O> {
    type Item = Result<ResultDocument>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.owner.change_watches(|table, changes| table.poll(self.number, cx.waker(), changes))
    }
}

impl<O: WatchTableOwner> Drop for WatchStream<O> {
    fn drop(&mut self) {
        self.owner.change_watches(|table, changes| table.remove(self.number, changes));
    }
}
