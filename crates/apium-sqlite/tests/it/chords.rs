//! Chords in the file: a settlement whose body panics, files of an older version, and chords that expire.

use std::sync::Arc;
use std::time::Duration;

use apium_protocol::json::text::Json;
use apium_protocol::result::state::State;
use apium_transport::backend::chord::{ChordEnd, ChordHeader, ChordPart, ChordProgress, FailedPart};
use apium_transport::broker::follow_ups::{ChordContinuation, EndedPart, FollowUps};
use apium_transport::broker::settlement::{Acknowledgement, Receipt, Settlement};
use apium_transport::clock::Clock;
use apium_transport::conformance::Handles;
use jiff::Timestamp;
use rusqlite::Connection;

use crate::kit::{id_of, open, receipts, soon, spec, to};

/// A header of `size` parts.
pub(crate) fn header(group: &str, size: u64, ttl: Option<Duration>) -> ChordHeader {
    let mut header = ChordHeader::new(group.to_owned(), size);
    header.ttl = ttl;
    header
}

/// A part of a chord whose task returned its own name.
pub(crate) fn part(group: &str, id: &str, place: i64) -> ChordPart {
    let mut part = ChordPart::new(
        group.to_owned(),
        id.into(),
        State::Success,
        Json::from_serialize(id).unwrap(),
        id.to_owned(),
        Duration::from_secs(30),
    );
    part.group_index = Some(place);
    part
}

/// Publishes a body whose id is made of its results.
pub(crate) struct Body;

impl ChordContinuation for Body {
    fn complete(&self, results: Vec<Json>) -> FollowUps {
        let shown: Vec<String> = results.iter().map(|json| json.decode().unwrap()).collect();
        let mut follow_ups = FollowUps::default();
        follow_ups.publish = vec![to("body", &shown.join("+"))];
        follow_ups
    }

    fn failed(&self, _: FailedPart) -> FollowUps {
        let mut follow_ups = FollowUps::default();
        follow_ups.publish = vec![to("errbacks", "failed")];
        follow_ups
    }
}

/// Panics, after another part of the same settlement was counted.
struct Panics;

impl ChordContinuation for Panics {
    fn complete(&self, _: Vec<Json>) -> FollowUps {
        panic!("a serializer of the user's")
    }

    fn failed(&self, _: FailedPart) -> FollowUps {
        panic!("and another one")
    }
}

/// A settlement that only counts `part`.
pub(crate) fn ends(part: ChordPart, continuation: Arc<dyn ChordContinuation>) -> Settlement {
    let parts = vec![EndedPart::new(part, continuation)];
    let mut follow_ups = FollowUps::default();
    follow_ups.parts = parts;
    let mut settlement = Settlement::default();
    settlement.follow_ups = Some(Box::new(follow_ups));
    settlement
}

async fn ready(handles: &Handles) -> Vec<(String, u64)> {
    let stats = handles.broker.queues().unwrap().counts().unwrap().stats().await.unwrap();
    stats.into_iter().map(|stats| (stats.queue, stats.ready)).collect()
}

#[tokio::test]
async fn a_settlement_that_panics_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let handles = open(&folder.path().join("q.db"), &Clock::system()).await;
    let chords = handles.backend.chords().unwrap();
    for group in ["good", "bad"] {
        chords.open(header(group, 1, None)).await.unwrap();
    }
    handles.broker.publish(vec![to("q", "m")]).await.unwrap();
    let mut consumer = handles.broker.consume(spec("q", "n@h", 0)).await.unwrap();
    let in_flight: Vec<Receipt> = receipts(&soon("a message", consumer.next(1)).await.unwrap());
    let acker = consumer.acker();
    let atomic = acker.atomic().unwrap();
    let batch = |continuation: Arc<dyn ChordContinuation>| {
        let mut last = ends(part("bad", "b", 0), continuation);
        last.delivery = Some((in_flight[0].clone(), Acknowledgement::Ack));
        // A queue is created and a body is written before the panic.
        vec![ends(part("good", "a", 0), Arc::new(Body)), last]
    };
    let other = handles.backend.store(Vec::new());
    let (failed, other) = tokio::join!(atomic.settle(batch(Arc::new(Panics))), other);
    let error = failed.unwrap_err().to_string();
    assert!(error.starts_with("make what follows the chord bad, whose last part is b"), "{error}");
    other.expect("a request was spoilt by another of the same transaction");
    assert_eq!(ready(&handles).await, [("q".to_owned(), 0)]);
    assert_eq!(chords.count("good").await.unwrap().unwrap().done, 0);
    // The same batch without a panic: the writer's copy of the queues is still right.
    atomic.settle(batch(Arc::new(Body))).await.unwrap();
    assert_eq!(ready(&handles).await, [("body".to_owned(), 2), ("q".to_owned(), 0)]);
    let mut bodies = handles.broker.consume(spec("body", "n@h", 0)).await.unwrap();
    let got = soon("both bodies", bodies.next(10)).await.unwrap();
    assert_eq!(got.iter().map(id_of).collect::<Vec<_>>(), ["a", "b"]);
}

#[tokio::test]
async fn an_older_file_gets_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let older = Connection::open(&path).unwrap();
    older.execute_batch(include_str!("../../src/store/schema.sql")).unwrap();
    older.execute_batch("PRAGMA application_id = 0x41706975; PRAGMA user_version = 1").unwrap();
    older
        .execute_batch(
            "UPDATE counters SET message = 1, topology = 1; INSERT INTO queue VALUES (1, 'q', NULL, 0); \
             INSERT INTO message VALUES (1, NULL, NULL, '{\"id\": \"old\", \"task\": \"t\"}', '{}', '[]'); \
             INSERT INTO ready VALUES (1, 1, 1, 0, 0, 0)",
        )
        .unwrap();
    for _ in 0..2 {
        let handles = open(&path, &Clock::system()).await;
        let chords = handles.backend.chords().unwrap();
        chords.open(header("g", 1, None)).await.unwrap();
        // The second time it was added already.
        chords.grow("g", &"added".into(), None).await.unwrap();
        assert_eq!(chords.count("g").await.unwrap().unwrap().size, 2);
        let mut consumer = handles.broker.consume(spec("q", "n@h", 0)).await.unwrap();
        let got = soon("the message of before", consumer.next(1)).await.unwrap();
        assert_eq!(id_of(&got[0]), "old");
        consumer.close().await.unwrap();
    }
    let version: i64 = older.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 5);
}

#[tokio::test]
async fn chords_are_deleted_in_time_with_their_parts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let clock = Clock::manual(Timestamp::from_second(1_767_323_045).unwrap());
    let handles = open(&path, &clock).await;
    let chords = handles.backend.chords().unwrap();
    let day = Some(Duration::from_secs(86_400));
    for (group, ttl) in [("kept", None), ("waiting", day), ("fired", day), ("failed", day)] {
        chords.open(header(group, 1, ttl)).await.unwrap();
        chords.grow(group, &"b".into(), ttl).await.unwrap();
        for (place, id) in [(0, "a"), (1, "b")].into_iter().take(if group == "waiting" { 1 } else { 2 }) {
            chords.part_done(part(group, id, place)).await.unwrap();
        }
    }
    assert!(chords.end("fired", "b", ChordEnd::Fired).await.unwrap());
    assert!(chords.end("failed", "b", ChordEnd::Failed).await.unwrap());
    let conn = Connection::open(&path).unwrap();
    let rows = || -> (i64, i64, i64) {
        let sql = "SELECT (SELECT count(*) FROM chord), (SELECT count(*) FROM chord_part), (SELECT count(*) FROM chord_added)";
        conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap()
    };
    assert_eq!(rows(), (4, 5, 3), "the parts of the one whose body was sent are gone");
    assert_eq!(handles.backend.stored().unwrap().purge_expired().await.unwrap(), 0);
    clock.advance(Duration::from_secs(301));
    assert_eq!(handles.backend.stored().unwrap().purge_expired().await.unwrap(), 1);
    assert_eq!(rows(), (3, 5, 3));
    clock.advance(Duration::from_secs(86_400));
    assert_eq!(handles.backend.stored().unwrap().purge_expired().await.unwrap(), 2);
    assert_eq!(rows(), (1, 2, 1));
    // An expired chord that was not purged yet is not found.
    chords.open(header("short", 1, Some(Duration::from_secs(1)))).await.unwrap();
    clock.advance(Duration::from_secs(1));
    assert_eq!(chords.part_done(part("short", "a", 0)).await.unwrap(), ChordProgress::Waiting);
}
