//! The stream of the states of some tasks.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use apium_protocol::result::document::ResultDocument;
use apium_transport::error::Result;
use futures_util::Stream;

use crate::backend::replies::ResultInbox;

/// The states of some tasks, as one watch sees them.
#[derive(Debug)]
pub(crate) struct InboxStream {
    replies: Arc<ResultInbox>,
    number: u64,
}

impl InboxStream {
    pub(crate) fn new(replies: Arc<ResultInbox>, number: u64) -> Self {
        Self { replies, number }
    }
}

impl Stream for InboxStream {
    type Item = Result<ResultDocument>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.replies.poll(self.number, cx.waker())
    }
}

impl Drop for InboxStream {
    fn drop(&mut self) {
        self.replies.unwatch(self.number);
    }
}
