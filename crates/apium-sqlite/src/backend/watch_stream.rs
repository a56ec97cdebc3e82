//! The stream of a watch: entered in the hub first, read from the store second.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use apium_transport::error::Result;
use futures_core::Stream;

use crate::handle::Handle;
use crate::open_file::OpenFile;

/// A stream of the states of some tasks.
pub(crate) struct WatchStream {
    file: Arc<OpenFile>,
    number: u64,
}

impl WatchStream {
    /// Enters a watch, then reads what is stored.
    pub(crate) async fn begin(handle: &Handle, ids: Vec<TaskId>) -> Result<Self> {
        let file = handle.file.clone();
        file.start_maintenance().await?;
        let seen = match file.store.waker.watch_table.is_watched() {
            true => 0,
            false => file.read("watch results", |conn, _| crate::backend::results::last_seq(conn)).await?,
        };
        let number = file.store.waker.watch_table.add(ids.clone(), seen, handle.closed.clone());
        file.store.waker.maintenance.notify_one();
        let watching = Self { file, number };
        let read = move |conn: &rusqlite::Connection, now| {
            let mut found = Vec::new();
            for id in ids {
                if let Some(document) = crate::backend::results::fetch(conn, &id, now)? {
                    found.push((id, document));
                }
            }
            Ok(found)
        };
        let found = watching.file.read("watch results", read).await?;
        watching.file.store.waker.watch_table.add_stored(number, found);
        Ok(watching)
    }
}

impl Stream for WatchStream {
    type Item = Result<ResultDocument>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.file.store.waker.watch_table.poll(self.number, cx.waker())
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        self.file.store.waker.watch_table.remove(self.number);
    }
}
