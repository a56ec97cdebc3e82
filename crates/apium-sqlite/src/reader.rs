//! The thread that reads: looks that may take long never hold up the writer.

use crate::store::store::Store;

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
