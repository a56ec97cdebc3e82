//! Watching results: a watch is added to the watch table first and reads what is stored second, so that it misses no
//! state.

use apium_protocol::message::task_id::TaskId;
use apium_transport::backend::watch_stream::{WatchStream, WatchTableOwner};
use apium_transport::backend::watch_table::{WatchChanges, WatchTable};
use apium_transport::error::Result;

use crate::backend::results;
use crate::backend::watch_table::as_states;
use crate::handle::Handle;
use crate::open_file::OpenFile;

impl WatchTableOwner for OpenFile {
    type Id = TaskId;

    fn change_watches<T>(&self, change: impl FnOnce(&mut WatchTable<TaskId>, &mut WatchChanges<TaskId>) -> T) -> T {
        self.store.waker.watch_table.change_watches(change)
    }
}

/// Watches tasks: adds a watch, then reads what is stored.
pub(crate) async fn watch(handle: &Handle, ids: Vec<TaskId>) -> Result<WatchStream<OpenFile>> {
    const WHAT: &str = "watch results";
    handle.check_open(WHAT)?;
    let file = &handle.file;
    file.start_maintenance().await?;
    let table = &file.store.waker.watch_table;
    let last_seq = match table.is_watched() {
        true => 0,
        false => file.read(WHAT, |conn, _| results::last_seq(conn)).await?,
    };
    let number = table.add(ids.clone(), last_seq, handle.closed.clone());
    let stream = WatchStream::new(file.clone(), number);
    file.store.waker.maintenance.notify_one();
    let found = file.read(WHAT, move |conn, now| results::fetch_all(conn, &ids, now)).await?;
    file.change_watches(|table, changes| table.start(number, &as_states(found), changes));
    Ok(stream)
}
