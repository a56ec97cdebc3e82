//! The thread that reads: looks that may take long never hold up the writer.

use apium_transport::error::Error;
use rusqlite::Connection;

use crate::store::Store;

/// A request to the thread that reads.
pub(crate) type ReadJob = Box<dyn FnOnce(Result<&Connection, &Error>) + Send>;

/// Serves requests until the store is closed.
pub(crate) fn run(store: &Store) {
    let _serving = store.reads.serving();
    let conn = store.open_reader();
    while let Some(waiting) = store.reads.take() {
        for job in waiting {
            job(conn.as_ref());
        }
    }
}
