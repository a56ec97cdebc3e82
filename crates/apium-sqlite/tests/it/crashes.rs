//! A process dies at each of the crash points while it ends a chord: nothing is lost, and nothing is done twice.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use apium_sqlite::crash_points;
use apium_transport::backend::chord::{ChordEnd, ChordProgress};
use apium_transport::broker::settlement::{Acknowledgement, Receipt, Settlement};
use apium_transport::clock::Clock;
use apium_transport::conformance::Handles;

use crate::chords::{Body, ends, header, part};
use crate::kit::{id_of, open, receipts, soon, spec, to};

const POINT: &str = "APIUM_SQLITE_TEST_POINT";
const FILE: &str = "APIUM_SQLITE_TEST_DYING_FILE";

/// The crash points that a worker passes whose queue is in another store.
const OF_PARTS: [&str; 4] = ["before-part", "after-part", "before-end", "after-end"];

/// The entry point of the process that dies. Without a crash point there is nothing to do.
#[test]
fn child() {
    let (Ok(point), Ok(file)) = (std::env::var(POINT), std::env::var(FILE)) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let handles = open(Path::new(&file), &Clock::system()).await;
        if OF_PARTS.contains(&point.as_str()) {
            crash_points::arm(&point, 1);
            return end_by_parts(&handles).await;
        }
        if crash_points::GROWTH_POINTS.contains(&point.as_str()) {
            crash_points::arm(&point, 1);
            return handles.backend.chords().unwrap().grow("g", &"added".into(), None).await.unwrap();
        }
        let mut consumer = handles.broker.consume(spec("q", "dying@h", 0)).await.unwrap();
        let in_flight = receipts(&soon("the message", consumer.next(1)).await.unwrap());
        crash_points::arm(&point, 1);
        let settled = consumer.acker().atomic().unwrap().settle(vec![last(&in_flight[0])]).await;
        panic!("it was to die at {point}, and settled: {settled:?}");
    });
}

fn last(receipt: &Receipt) -> Settlement {
    let mut settlement = ends(part("g", "b", 1), Arc::new(Body));
    settlement.publish.push(to("next", "link"));
    settlement.delivery = Some((receipt.clone(), Acknowledgement::Ack));
    settlement
}

/// What a worker does whose queue is in another store.
async fn end_by_parts(handles: &Handles) {
    let chords = handles.backend.chords().unwrap();
    let progress = chords.part_done(part("g", "b", 1)).await.unwrap();
    assert!(matches!(progress, ChordProgress::Complete(_)), "{progress:?}");
    assert!(chords.end("g", "b", ChordEnd::Fired).await.unwrap());
}

fn dies(path: &Path, point: &str) {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crashes::child", "--nocapture", "--quiet"])
        .env(POINT, point)
        .env(FILE, path)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    // A process that panics or returns has an exit code; one that aborts has none.
    #[cfg(unix)]
    assert_eq!(status.code(), None, "it did not die at {point}");
    assert!(!status.success(), "it did not die at {point}");
}

/// A file with a message and with a chord that waits for its last part.
async fn waiting_chord() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let handles = open(&path, &Clock::system()).await;
    let chords = handles.backend.chords().unwrap();
    chords.open(header("g", 2, None)).await.unwrap();
    assert_eq!(chords.part_done(part("g", "a", 0)).await.unwrap(), ChordProgress::Waiting);
    handles.broker.publish(vec![to("q", "m")]).await.unwrap();
    (folder, path)
}

async fn ready(handles: &Handles, queue: &str) -> u64 {
    let stats = handles.broker.queues().unwrap().counts().unwrap().stats().await.unwrap();
    stats.into_iter().find(|stats| stats.queue == queue).map_or(0, |stats| stats.ready)
}

#[tokio::test]
async fn a_settlement_is_done_whole_or_not_at_all() {
    let (mut done, mut undone) = (0, 0);
    for point in crash_points::POINTS.iter().filter(|point| !OF_PARTS.contains(point)) {
        let (_folder, path) = waiting_chord().await;
        dies(&path, point);
        let handles = open(&path, &Clock::system()).await;
        let chords = handles.backend.chords().unwrap();
        match chords.count("g").await.unwrap() {
            None => done += 1,
            Some(count) => {
                undone += 1;
                assert_eq!((count.done, count.size), (1, 2), "{point}");
                for queue in ["body", "next"] {
                    assert_eq!(ready(&handles, queue).await, 0, "{point}");
                }
                let mut consumer = handles.broker.consume(spec("q", "next@h", 0)).await.unwrap();
                let got = soon("the delivery of the dead", consumer.next(1)).await.unwrap();
                assert_eq!((id_of(&got[0]).as_str(), got[0].redelivered), ("m", true), "{point}");
                let settlement = vec![last(&got[0].receipt)];
                consumer.acker().atomic().unwrap().settle(settlement).await.unwrap();
            }
        }
        assert_eq!(chords.part_done(part("g", "b", 1)).await.unwrap(), ChordProgress::Fired, "{point}");
        for (queue, wanted) in [("q", 0), ("body", 1), ("next", 1)] {
            assert_eq!(ready(&handles, queue).await, wanted, "{queue} after {point}");
        }
    }
    assert!(done > 0 && undone > 0, "{done} were done and {undone} were not");
}

#[tokio::test]
async fn a_chord_grows_once_however_often_the_task_that_adds_to_it_dies() {
    for point in crash_points::GROWTH_POINTS {
        let (_folder, path) = waiting_chord().await;
        dies(&path, point);
        dies(&path, point);
        let handles = open(&path, &Clock::system()).await;
        let chords = handles.backend.chords().unwrap();
        chords.grow("g", &"added".into(), None).await.unwrap();
        let count = chords.count("g").await.unwrap().unwrap();
        assert_eq!((count.done, count.size), (1, 3), "{point}");
    }
}

#[tokio::test]
async fn a_chord_whose_queue_is_in_another_store_is_ended_by_the_next_worker() {
    for point in OF_PARTS {
        let (_folder, path) = waiting_chord().await;
        dies(&path, point);
        let handles = open(&path, &Clock::system()).await;
        let chords = handles.backend.chords().unwrap();
        let progress = chords.part_done(part("g", "b", 1)).await.unwrap();
        match point {
            "after-end" => assert_eq!(progress, ChordProgress::Fired),
            _ => {
                assert!(matches!(progress, ChordProgress::Complete(_)), "{point}: {progress:?}");
                assert!(chords.end("g", "b", ChordEnd::Fired).await.unwrap(), "{point}");
            }
        }
    }
}
