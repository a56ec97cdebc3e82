//! The stream of a watch, as a backend returns it.

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
    pub(crate) async fn begin(store: Arc<ResultStore>, ids: Vec<TaskId>, closed: Arc<AtomicBool>) -> Result<Self> {
        let keys: HashSet<String> = ids.iter().map(|id| store.keys.task(id)).collect();
        let keys: Vec<String> = keys.into_iter().collect();
        let number = store.watcher.add(&keys, closed);
        let stream = Self { store, number };
        stream.store.watcher.begin(number, &keys).await?;
        Ok(stream)
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
