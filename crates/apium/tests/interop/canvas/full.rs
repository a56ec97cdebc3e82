//! What Celery makes of every case, asked again.

use apium_peers::redis_server::fresh_database;

use crate::canvas::case::CELERY;
use crate::canvas::draw::{FULL, WRITE, is_set};
use crate::canvas::ground::{celery, client, output};

/// What is written down.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/canvas/celery.jsonl");

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn celery_still_says_what_is_written_down() {
    if !is_set(FULL) && !is_set(WRITE) {
        return;
    }
    let database = fresh_database();
    let _worker = celery(&database.url);
    let said = output(client(&database.url, "oracle")).await;
    if is_set(WRITE) {
        std::fs::write(FILE, said).unwrap();
        return;
    }
    assert_eq!(said.lines().count(), CELERY.lines().count());
    for (said, written) in said.lines().zip(CELERY.lines()) {
        assert_eq!(said, written);
    }
}
