//! The conformance suite on the SQLite driver. A second driver on the same file plays another process.

use apium_transport::clock::Clock;
use apium_transport::conformance::{Fixture, Handles};
use rusqlite::{Connection, params};

use crate::kit::open;

async fn sqlite() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let clock = Clock::manual(Fixture::start());
    let Handles { broker, backend, .. } = open(&path, &clock).await;
    let (path_again, clock_again) = (path.clone(), clock.clone());
    Fixture::new(broker, backend, clock)
        .reopening(move || {
            let (path, clock) = (path_again.clone(), clock_again.clone());
            Box::pin(async move { open(&path, &clock).await })
        })
        .inserting_unreadable(move |queue, raw, reason| {
            insert_unreadable(&Connection::open(&path).unwrap(), &queue, &raw, &reason);
            Box::pin(async {})
        })
        .keeping(folder)
}

/// Inserts a row that holds no message, as a dead letter of such bytes does when it is replayed.
fn insert_unreadable(conn: &Connection, queue: &str, raw: &[u8], reason: &str) {
    conn.execute_batch("BEGIN IMMEDIATE; UPDATE counters SET message = message + 1, topology = topology + 1").unwrap();
    let id =
        |column| conn.query_row(&format!("SELECT {column} FROM counters"), [], |row| row.get::<_, i64>(0)).unwrap();
    conn.execute("INSERT OR IGNORE INTO queue VALUES (?1, ?2, NULL, 0)", params![id("topology"), queue]).unwrap();
    conn.execute("INSERT INTO message (id, properties, body) VALUES (?1, ?2, ?3)", params![id("message"), reason, raw])
        .unwrap();
    conn.execute(
        "INSERT INTO ready SELECT id, ?1, ?1, 0, 0, 0 FROM queue WHERE name = ?2",
        params![id("message"), queue],
    )
    .unwrap();
    conn.execute_batch("COMMIT").unwrap();
}

apium_transport::conformance_tests! {
    crate::conformance::sqlite,
    lacks: [],
    skips: [],
}
