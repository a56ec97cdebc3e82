//! The recorded outcomes with Celery, compared with Celery again.

use apium_peers::redis_server::fresh_database;

use crate::canvas::case::CELERY;
use crate::canvas::selection::{FULL, WRITE, is_set};
use crate::canvas::workers::{celery, client, output};

/// The recorded outcomes.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/canvas/celery.jsonl");

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_recorded_outcomes_are_still_those_of_celery() {
    if !is_set(FULL) && !is_set(WRITE) {
        return;
    }
    let database = fresh_database();
    let _worker = celery(&database.url);
    let printed = output(client(&database.url, "oracle")).await;
    if is_set(WRITE) {
        std::fs::write(FILE, printed).unwrap();
        return;
    }
    assert_eq!(printed.lines().count(), CELERY.lines().count());
    for (new, recorded) in printed.lines().zip(CELERY.lines()) {
        assert_eq!(new, recorded);
    }
}
