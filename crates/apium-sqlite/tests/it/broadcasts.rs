//! Broadcasts and what all workers share, as they lie in the file: what is written, what goes, and listeners that died.

use std::path::Path;
use std::time::Duration;

use apium_protocol::json::text::Json;
use apium_transport::broker::broadcast::{Broadcast, BroadcastExchange, Mailbox, MailboxSpec, Received};
use apium_transport::broker::fleet::{FleetLimits, FleetRecord, FleetTopic};
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::topology::ExchangeType;
use apium_transport::clock::Clock;
use apium_transport::conformance::{Fixture, Handles};
use rusqlite::Connection;

use crate::kit::{message, open, soon};

fn events() -> BroadcastExchange {
    BroadcastExchange::new("celeryev", ExchangeType::Topic)
}

fn seam(handles: &Handles) -> &dyn Broadcast {
    handles.broker.broadcast().unwrap()
}

async fn listen(handles: &Handles, queue: &str, binding: &str) -> Box<dyn Mailbox> {
    soon("a mailbox", seam(handles).listen(MailboxSpec::new(events(), queue, binding))).await.unwrap()
}

async fn send(handles: &Handles, key: &str, names: &[&str]) {
    let batch = names.iter().map(|name| Outgoing::new("".into(), key.into(), message(name))).collect();
    soon("a broadcast", seam(handles).send(&events(), batch)).await.unwrap();
}

async fn next(mailbox: &mut Box<dyn Mailbox>) -> Received {
    soon("a broadcast", mailbox.next()).await.unwrap()
}

fn names(received: &Received) -> Vec<String> {
    received.messages.iter().map(|one| one.message.headers.id.as_ref().unwrap().to_string()).collect()
}

fn count(conn: &Connection, table: &str) -> i64 {
    conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

fn file(path: &Path) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.busy_timeout(Duration::from_secs(20)).unwrap();
    conn
}

/// Turns the clock, ten seconds at a time, until a condition holds.
async fn turn_until(what: &str, clock: &Clock, mut holds: impl FnMut() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    soon(what, async {
        while !holds() {
            clock.advance(Duration::from_secs(10));
            ticks.tick().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_somebody_hears_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let clock = Clock::manual(Fixture::start());
    let (handles, other) = (open(&path, &clock).await, open(&path, &clock).await);
    let conn = file(&path);
    let written = |conn: &Connection| -> i64 {
        conn.query_row("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'broadcast'", [], |row| {
            row.get(0)
        })
        .unwrap()
    };
    send(&other, "task.sent", &["nobody listens"]).await;
    let mut mailbox = listen(&handles, "celeryev.1", "worker.#").await;
    send(&other, "task.sent", &["not for it"]).await;
    assert_eq!(written(&conn), 0);
    send(&other, "worker.online", &["a", "b"]).await;
    assert_eq!(names(&next(&mut mailbox).await), ["a", "b"]);
    assert_eq!((written(&conn), count(&conn, "broadcast"), count(&conn, "mailbox")), (2, 2, 1));
    drop(mailbox);
    // The writer serves what it was sent in order.
    send(&handles, "worker.online", &["nobody listens"]).await;
    let again = listen(&handles, "celeryev.1", "#").await;
    assert_eq!((count(&conn, "broadcast"), count(&conn, "mailbox")), (0, 1));
    let size: (i64, i64) =
        conn.query_row("SELECT messages, bytes FROM broadcast_size", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(size, (0, 0));
    drop(again);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_too_long_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let clock = Clock::manual(Fixture::start());
    let handles = open(&path, &clock).await;
    let mut mailbox = listen(&handles, "celeryev.1", "#").await;
    send(&handles, "a", &["old"]).await;
    clock.advance(Duration::from_secs(301));
    send(&handles, "a", &["new"]).await;
    let received = next(&mut mailbox).await;
    assert_eq!((names(&received), received.missed), (vec!["new".to_owned()], false));
    assert_eq!(count(&file(&path), "broadcast"), 1);
    // Without another message, the listener deletes it.
    clock.advance(Duration::from_secs(301));
    turn_until("the deletion", &clock, || count(&file(&path), "broadcast") == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_too_many_the_oldest_go_and_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let clock = Clock::manual(Fixture::start());
    let handles = open(&path, &clock).await;
    let (mut mailbox, mut read) =
        (listen(&handles, "celeryev.1", "#").await, listen(&handles, "celeryev.2", "#").await);
    for (column, most) in [("messages", 50_000), ("bytes", 256 << 20)] {
        send(&handles, "a", &["a", "b", "c"]).await;
        assert_eq!(names(&next(&mut read).await).len(), 3);
        // As if others had left no room.
        let conn = file(&path);
        conn.execute(&format!("UPDATE broadcast_size SET {column} = ?1"), [most]).unwrap();
        send(&handles, "a", &["d", "e"]).await;
        let received = next(&mut mailbox).await;
        assert_eq!(
            (names(&received), received.missed),
            (["c", "d", "e"].map(str::to_owned).to_vec(), true),
            "{column}"
        );
        assert!(!next(&mut read).await.missed, "it has read what went");
        send(&handles, "a", &["f"]).await;
        assert!(!next(&mut mailbox).await.missed, "it is said twice");
        next(&mut read).await;
        conn.execute_batch("DELETE FROM broadcast; UPDATE broadcast_size SET messages = 0, bytes = 0").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mailbox_of_a_dead_process_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let clock = Clock::manual(Fixture::start());
    let handles = open(&path, &clock).await;
    let mut mailbox = listen(&handles, "celeryev.1", "worker.#").await;
    let conn = file(&path);
    conn.execute("INSERT INTO mailbox (exchange, kind, binding, ttl, renewed) VALUES ('celeryev', 1, '#', 9, 5)", [])
        .unwrap();
    // Setting the clock alone removes nobody.
    clock.set(clock.now() + jiff::SignedDuration::from_hours(24));
    send(&handles, "worker.online", &["a"]).await;
    assert_eq!(names(&next(&mut mailbox).await), ["a"]);
    assert_eq!(count(&conn, "mailbox"), 2);
    turn_until("the removal", &clock, || count(&conn, "mailbox") == 1).await;
    send(&handles, "worker.online", &["b"]).await;
    let received = next(&mut mailbox).await;
    assert_eq!((names(&received), received.missed), (vec!["b".to_owned()], false));
    // One that others took for dead comes back, and says that it may have missed something.
    conn.execute("DELETE FROM mailbox", []).unwrap();
    send(&handles, "worker.online", &["unheard"]).await;
    turn_until("its return", &clock, || count(&conn, "mailbox") == 1).await;
    send(&handles, "worker.online", &["c"]).await;
    let received = next(&mut mailbox).await;
    assert_eq!((names(&received), received.missed), (vec!["c".to_owned()], true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let clock = Clock::manual(Fixture::start());
    let handles = open(&path, &clock).await;
    let mut mailbox = listen(&handles, "celeryev.1", "#").await;
    let conn = file(&path);
    for headers in ["{", "7", "\n2026 INFO all is well"] {
        conn.execute(
            "INSERT INTO broadcast (exchange, routing_key, at, expires, size, headers, properties, body) \
             VALUES ('celeryev', 'a', ?1, ?1 + 9000000, 1, ?2, '{}', x'00')",
            rusqlite::params![clock.now().as_microsecond(), headers],
        )
        .unwrap();
    }
    send(&handles, "a", &["good"]).await;
    assert_eq!(names(&next(&mut mailbox).await), ["good"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_records_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let clock = Clock::manual(Fixture::start());
    let handles = open(&path, &clock).await;
    let fleet = handles.broker.fleet().unwrap();
    let record =
        |n: i64| FleetRecord::new(format!("{}", n % 700), Json::NULL, clock.now() + jiff::SignedDuration::from_secs(n));
    let limits = FleetLimits::new(600, Some(Duration::from_secs(3600)));
    let records: Vec<FleetRecord> = (0..3000).map(record).collect();
    let mut dropped = 0;
    for topic in [FleetTopic::RevokedTasks, FleetTopic::RevokedStamps] {
        dropped += fleet.put(topic, records.clone(), limits).await.unwrap();
        fleet.put(topic, records[..10].to_vec(), limits).await.unwrap();
        fleet.remove(topic, &["5".into(), "5".into(), "x".into()]).await.unwrap();
        let sizes = |sql: &str| file(&path).query_row(sql, [topic.name()], |row| row.get::<_, i64>(0)).unwrap();
        let known = sizes("SELECT records FROM fleet_size WHERE topic = ?1");
        assert_eq!(known, sizes("SELECT count(*) FROM fleet WHERE topic = ?1"));
        assert!((590..=600).contains(&known), "{known}");
    }
    assert!(dropped > 200, "{dropped}");
    // A value that another program has spoilt is an error that names it.
    file(&path).execute("UPDATE fleet SET value = '{' WHERE key = '650'", []).unwrap();
    let error = fleet.list(FleetTopic::RevokedTasks, None, limits).await.unwrap_err();
    assert!(error.to_string().contains("the value of \"650\" in the table fleet"), "{error}");
}
