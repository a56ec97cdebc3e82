//! The stream of a watch.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};

use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use apium_transport::error::Result;
use futures_core::Stream;

use crate::backend::result_store::ResultStore;

/// A stream of the states of some tasks.
pub(crate) struct WatchStream {
    store: Arc<ResultStore>,
    number: u64,
}

impl WatchStream {
    pub(crate) async fn begin(opened: Arc<ResultStore>, ids: Vec<TaskId>, closed: Arc<AtomicBool>) -> Result<Self> {
        let keys: HashSet<String> = ids.iter().map(|id| opened.keys.task(id)).collect();
        let keys: Vec<String> = keys.into_iter().collect();
        let number = opened.watcher.add(&keys, closed);
        let watching = Self { store: opened, number };
        watching.store.watcher.begin(number, &keys).await?;
        Ok(watching)
    }
}

impl Stream for WatchStream {
    type Item = Result<ResultDocument>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.store.watcher.poll(self.number, cx.waker())
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        self.store.watcher.remove(self.number);
    }
}
