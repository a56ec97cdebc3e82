//! The stream of a watch: entered in the hub first, read from the store second.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use apium_transport::error::Result;
use futures_core::Stream;

use crate::handle::Handle;
use crate::open_file::Opened;

/// A stream of the states of some tasks.
pub(crate) struct Watching {
    opened: Arc<Opened>,
    number: u64,
}

impl Watching {
    /// Enters a watch, then reads what is stored.
    pub(crate) async fn begin(handle: &Handle, ids: Vec<TaskId>) -> Result<Self> {
        let opened = handle.opened.clone();
        opened.attend().await?;
        let seen = match opened.store.wake.hub.is_watched() {
            true => 0,
            false => opened.read("watch results", |conn, _| crate::backend::results::last_seq(conn)).await?,
        };
        let number = opened.store.wake.hub.enter(ids.clone(), seen, handle.closed.clone());
        opened.store.wake.attendant.notify_one();
        let watching = Self { opened, number };
        let read = move |conn: &rusqlite::Connection, now| {
            let mut found = Vec::new();
            for id in ids {
                if let Some(document) = crate::backend::results::fetch(conn, &id, now)? {
                    found.push((id, document));
                }
            }
            Ok(found)
        };
        let found = watching.opened.read("watch results", read).await?;
        watching.opened.store.wake.hub.begin(number, found);
        Ok(watching)
    }
}

impl Stream for Watching {
    type Item = Result<ResultDocument>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.opened.store.wake.hub.poll(self.number, cx.waker())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.opened.store.wake.hub.leave(self.number);
    }
}
