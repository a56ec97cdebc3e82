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

use crate::backend::result_store::OpenedResults;

/// A stream of the states of some tasks.
pub(crate) struct Watching {
    opened: Arc<OpenedResults>,
    number: u64,
}

impl Watching {
    pub(crate) async fn begin(opened: Arc<OpenedResults>, ids: Vec<TaskId>, closed: Arc<AtomicBool>) -> Result<Self> {
        let keys: HashSet<String> = ids.iter().map(|id| opened.keys.task(id)).collect();
        let keys: Vec<String> = keys.into_iter().collect();
        let number = opened.watches.enter(&keys, closed);
        let watching = Self { opened, number };
        watching.opened.watches.begin(number, &keys).await?;
        Ok(watching)
    }
}

impl Stream for Watching {
    type Item = Result<ResultDocument>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.opened.watches.poll(self.number, cx.waker())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.opened.watches.leave(self.number);
    }
}
