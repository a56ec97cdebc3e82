//! Watching results: a watch is added to the watch table and its channels are subscribed first, and what is stored is
//! read second, so that it misses no state. Where all last states come as messages meanwhile, nothing needs to be read.

use std::collections::HashSet;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use apium_protocol::message::task_id::TaskId;
use apium_transport::backend::watch_stream::{WatchStream, WatchTableOwner};
use apium_transport::backend::watch_table::{WatchChanges, WatchTable};
use apium_transport::error::Result;
use futures_util::future::{Either, select};

use crate::backend::result_store::ResultStore;

impl WatchTableOwner for ResultStore {
    type Id = String;

    fn change_watches<T>(&self, change: impl FnOnce(&mut WatchTable<String>, &mut WatchChanges<String>) -> T) -> T {
        self.watcher.change_watches(change)
    }
}

/// Watches tasks. `handle_closed` says that the backend handle was closed.
pub(crate) async fn watch(
    store: Arc<ResultStore>,
    ids: Vec<TaskId>,
    handle_closed: Arc<AtomicBool>,
) -> Result<WatchStream<ResultStore>> {
    let keys: HashSet<String> = ids.iter().map(|id| store.keys.task(id)).collect();
    let keys: Vec<String> = keys.into_iter().collect();
    let number = store.watcher.add(&keys, handle_closed);
    let stream = WatchStream::new(store.clone(), number);
    let ended = poll_fn(|cx| store.change_watches(|table, _| table.poll_ended(number, cx.waker())));
    match select(pin!(store.watcher.start(number, &keys)), ended).await {
        Either::Left((started, _)) => started.map(|()| stream),
        Either::Right(_) => Ok(stream),
    }
}
