//! What all workers share: records that are written by one and read by others, also later.

use std::time::Duration;

use apium_protocol::json::text::Json;
use jiff::{SignedDuration, Timestamp};

use crate::broker::fleet::{FleetLimits, FleetRecord, FleetRecords, FleetTopic};
use crate::conformance::fixture::Fixture;
use crate::conformance::kit::soon;
use crate::error::ErrorKind;

const TASKS: FleetTopic = FleetTopic::RevokedTasks;
const NO_LIMITS: FleetLimits = FleetLimits { most: 1_000_000, keep: None };

fn seam(f: &Fixture) -> &dyn FleetRecords {
    f.broker.fleet().expect("it keeps what all workers share")
}

/// A record that was written this many seconds after the others began.
fn record(f: &Fixture, key: &str, seconds: i64) -> FleetRecord {
    let at = f.clock.now() - SignedDuration::from_mins(10) + SignedDuration::from_secs(seconds);
    FleetRecord::new(key, Json::NULL, at)
}

async fn put(f: &Fixture, records: Vec<FleetRecord>, limits: FleetLimits) -> usize {
    soon("the writing", seam(f).put(TASKS, records, limits)).await.expect("could not write")
}

async fn list(f: &Fixture, since: Option<Timestamp>, limits: FleetLimits) -> Vec<FleetRecord> {
    soon("the reading", seam(f).list(TASKS, since, limits)).await.expect("could not read")
}

async fn keys(f: &Fixture) -> Vec<String> {
    list(f, None, NO_LIMITS).await.into_iter().map(|record| record.key).collect()
}

/// A record comes back with its key, value and time; each topic has its own.
pub async fn a_record_comes_back(f: Fixture) {
    let value = Json::from_text(r#"{"by":"ä\u0006\u0016\n\u0000","n":[1.5,null,true]}"#).expect("it is JSON");
    for (n, topic) in FleetTopic::ALL.into_iter().enumerate() {
        let mut record = record(&f, &format!("header=\"v {n}\u{6}\u{16}\""), 1);
        record.value = value.clone();
        assert!(seam(&f).list(topic, None, NO_LIMITS).await.expect("could not read").is_empty());
        assert_eq!(seam(&f).put(topic, vec![record.clone()], NO_LIMITS).await.expect("could not write"), 0);
        assert_eq!(seam(&f).list(topic, None, NO_LIMITS).await.expect("could not read"), [record]);
    }
    assert_eq!(keys(&f).await.len(), 1);
}

/// A record of the same key takes the place of the one before; its time counts.
pub async fn a_record_is_replaced(f: Fixture) {
    put(&f, vec![record(&f, "a", 1), record(&f, "b", 2), record(&f, "c", 3)], NO_LIMITS).await;
    let mut again = record(&f, "a", 4);
    again.value = Json::from_serialize("again").expect("a text is JSON");
    put(&f, vec![record(&f, "b", 0), again.clone()], NO_LIMITS).await;
    let found = list(&f, None, NO_LIMITS).await;
    assert_eq!(found, [record_like(&found, "b"), record_like(&found, "c"), again]);
    // In one call, the last one counts.
    put(&f, vec![record(&f, "b", 9), record(&f, "b", 5)], NO_LIMITS).await;
    assert_eq!(keys(&f).await, ["c", "a", "b"]);
}

fn record_like(found: &[FleetRecord], key: &str) -> FleetRecord {
    found.iter().find(|record| record.key == key).expect("it is listed").clone()
}

/// Removed records are gone, and only what was there is counted.
pub async fn a_record_is_removed(f: Fixture) {
    put(&f, vec![record(&f, "a", 1), record(&f, "b", 2), record(&f, "c", 3)], NO_LIMITS).await;
    let removed = seam(&f).remove(TASKS, &["b".into(), "x".into(), "a".into()]).await.expect("could not remove");
    assert_eq!(removed, 2);
    assert_eq!(keys(&f).await, ["c"]);
    assert_eq!(seam(&f).remove(TASKS, &[]).await.expect("could not remove nothing"), 0);
    put(&f, vec![record(&f, "a", 4)], NO_LIMITS).await;
    assert_eq!(keys(&f).await, ["c", "a"]);
}

/// What was written since a time, with that time.
pub async fn records_are_listed_since_a_time(f: Fixture) {
    let records: Vec<FleetRecord> = (0..5).map(|n| record(&f, &format!("r{n}"), n)).collect();
    put(&f, records.clone(), NO_LIMITS).await;
    assert_eq!(list(&f, Some(records[2].at), NO_LIMITS).await, records[2..]);
    let after = records[4].at + SignedDuration::from_micros(1);
    assert!(list(&f, Some(after), NO_LIMITS).await.is_empty());
}

/// When there are too many records the oldest go, and it is said how many.
pub async fn the_oldest_records_go(f: Fixture) {
    let limits = FleetLimits::new(3, None);
    assert_eq!(put(&f, vec![record(&f, "b", 2), record(&f, "a", 1)], limits).await, 0);
    assert_eq!(put(&f, vec![record(&f, "c", 3), record(&f, "e", 5), record(&f, "d", 4)], limits).await, 2);
    assert_eq!(keys(&f).await, ["c", "d", "e"]);
    // A record that is older than all others is dropped itself.
    assert_eq!(put(&f, vec![record(&f, "z", 0)], limits).await, 1);
    assert_eq!(keys(&f).await, ["c", "d", "e"]);
    // Writing nothing applies the limits all the same.
    assert_eq!(put(&f, Vec::new(), FleetLimits::new(1, None)).await, 2);
    assert_eq!(keys(&f).await, ["e"]);
    assert_eq!(put(&f, Vec::new(), FleetLimits::new(0, None)).await, 1);
    assert!(keys(&f).await.is_empty());
}

/// What is too old is neither kept nor listed, and does not count as dropped for lack of room.
pub async fn old_records_go(f: Fixture) {
    let hours = |hours| SignedDuration::from_hours(hours);
    let aged = |key: &str, age| FleetRecord::new(key, Json::NULL, f.clock.now() - age);
    let limits = FleetLimits::new(100, Some(Duration::from_secs(3600)));
    put(&f, vec![aged("old", hours(2)), aged("young", SignedDuration::from_mins(30))], NO_LIMITS).await;
    let listed: Vec<String> = list(&f, None, limits).await.into_iter().map(|record| record.key).collect();
    assert_eq!(listed, ["young"]);
    let since = Some(f.clock.now() - hours(5));
    assert_eq!(list(&f, since, limits).await.len(), 1);
    assert_eq!(keys(&f).await, ["old", "young"], "listing deletes nothing");
    assert_eq!(put(&f, vec![aged("new", hours(0)), aged("older", hours(3))], limits).await, 0);
    assert_eq!(keys(&f).await, ["young", "new"]);
}

/// A record ages by the clock of the driver.
pub async fn a_record_ages(f: Fixture) {
    let limits = FleetLimits::new(100, Some(Duration::from_secs(3600)));
    put(&f, vec![FleetRecord::new("a", Json::NULL, f.clock.now())], limits).await;
    f.advance(Duration::from_secs(3600));
    assert_eq!(list(&f, None, limits).await.len(), 1);
    f.advance(Duration::from_secs(1));
    assert!(list(&f, None, limits).await.is_empty());
}

/// Many records are no trouble: each call does work for what it writes, and not for what there is.
pub async fn a_hundred_thousand_records_are_kept(f: Fixture) {
    const ALL: i64 = 100_000;
    let limits = FleetLimits::new(60_000, None);
    let at = f.clock.now() - SignedDuration::from_hours(1);
    let numbered = |n: i64| FleetRecord::new(format!("{n}"), Json::NULL, at + SignedDuration::from_millis(n));
    let mut dropped = 0;
    for first in (0..ALL).step_by(20_000) {
        dropped += put(&f, (first..first + 20_000).map(numbered).collect(), limits).await;
    }
    assert_eq!(dropped, 40_000);
    for n in ALL..ALL + 20 {
        assert_eq!(put(&f, vec![numbered(n)], limits).await, 1);
    }
    let found = list(&f, None, limits).await;
    assert_eq!(found.len(), 60_000);
    assert_eq!((found[0].key.as_str(), found[59_999].key.as_str()), ("40020", "100019"));
    let since = list(&f, Some(found[59_000].at), limits).await;
    assert_eq!(since, found[59_000..]);
    let removed: Vec<String> = found[..30_000].iter().map(|record| record.key.clone()).collect();
    assert_eq!(soon("the removing", seam(&f).remove(TASKS, &removed)).await.expect("could not remove"), 30_000);
    assert_eq!(list(&f, None, limits).await, found[30_000..]);
}

/// What one handle writes, another reads and removes.
pub async fn handles_share_records(f: Fixture) {
    let other = f.reopen().await;
    let theirs = other.broker.fleet().expect("it keeps what all workers share");
    let written = record(&f, "a", 1);
    put(&f, vec![written.clone()], NO_LIMITS).await;
    assert_eq!(theirs.list(TASKS, None, NO_LIMITS).await.expect("could not read"), [written]);
    assert_eq!(theirs.remove(TASKS, &["a".into()]).await.expect("could not remove"), 1);
    assert!(keys(&f).await.is_empty());
}

/// A closed broker says so.
pub async fn a_closed_broker_shares_nothing(f: Fixture) {
    f.broker.close().await.expect("could not close");
    let put = seam(&f).put(TASKS, vec![record(&f, "a", 1)], NO_LIMITS).await.map(drop);
    let removed = seam(&f).remove(TASKS, &["a".into()]).await.map(drop);
    let listed = seam(&f).list(TASKS, None, NO_LIMITS).await.map(drop);
    for (what, result) in [("put", put), ("remove", removed), ("list", listed)] {
        assert_eq!(result.expect_err("a closed handle works").kind(), ErrorKind::Closed, "{what}");
    }
}
