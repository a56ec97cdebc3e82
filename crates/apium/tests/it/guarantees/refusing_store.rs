//! `refusing-store`: a disk that fills while tasks end strands nothing, and a store that cannot be trusted any more
//! stops its worker.

use std::path::PathBuf;

use apium::prelude::*;
use apium::worker::{Health, StopCause, StopKind, WorkerHandle};
use apium_sqlite::faults::DiskFaults;

use crate::fixture::{Fixture, Records, records};
use crate::gate::Gate;
use crate::live::{PATIENCE, counts, entered, live, open_gate, start, stop, value, wait_until};

const FULL: DiskFaults = DiskFaults { full: true, flush_fails: false, max_length: None };
const NO_FLUSH: DiskFaults = DiskFaults { full: false, flush_fails: true, max_length: None };

/// Records its number, waits at the gate, and returns a text of so many bytes.
#[task(name = "refusing.text", acks_late)]
async fn text(State(gate): State<Gate>, State(records): State<Records>, n: i64, bytes: usize) -> TaskResult<String> {
    records.add(n.to_string());
    gate.pass().await;
    Ok("x".repeat(bytes))
}

/// A database on a disk of its own.
fn database() -> (Fixture, PathBuf) {
    let fixture = Fixture::sqlite();
    let path = fixture.url().strip_prefix("sqlite://").unwrap().into();
    (fixture, path)
}

fn red(worker: &WorkerHandle) -> Option<String> {
    match worker.health() {
        Health::Green => None,
        Health::Red { reason, .. } => Some(reason),
    }
}

async fn dead(app: &App) -> u64 {
    app.broker().dead().unwrap().count().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_end_on_a_full_disk_succeed_when_there_is_room_again() {
    let (fixture, path) = database();
    let app = live(&fixture).register::<text>().build().await.unwrap();
    let results = text::batch((0..4).map(|n| (n, 300_000_usize))).send_all(&app).await.unwrap();
    let worker = start(&app, 4).await;
    entered(&app, 4).await;
    FULL.set(&path).unwrap();
    open_gate(&app, 4);
    wait_until("the worker says that the disk is full", async || {
        red(&worker).is_some_and(|reason| reason.contains("the disk is full"))
    })
    .await;
    for result in &results {
        assert!(!result.ready().await.unwrap());
    }
    DiskFaults::default().set(&path).unwrap();
    for result in &results {
        assert_eq!(value(result).await.len(), 300_000);
    }
    wait_until("the worker is healthy", async || red(&worker).is_none()).await;
    // The prefetch is what it was: as many run at once as before.
    let more = text::batch((4..8).map(|n| (n, 1_usize))).send_all(&app).await.unwrap();
    entered(&app, 4).await;
    open_gate(&app, 4);
    for result in &more {
        value(result).await;
    }
    let mut ran = records(&app);
    ran.sort();
    assert_eq!(ran, (0..8).map(|n| n.to_string()).collect::<Vec<_>>(), "each ran once");
    assert_eq!(stop(worker, StopKind::Warm).await.exit_code(), 0);
    let stats = counts(&app).await;
    assert_eq!((stats.ready, stats.unacked, dead(&app).await), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_disk_lost_what_was_written_stops_and_its_tasks_run_again() {
    let (fixture, path) = database();
    let app = live(&fixture).register::<text>().build().await.unwrap();
    let results = text::batch((0..2).map(|n| (n, 1_usize))).send_all(&app).await.unwrap();
    let worker = start(&app, 2).await;
    entered(&app, 2).await;
    NO_FLUSH.set(&path).unwrap();
    open_gate(&app, 1);
    let stopped = tokio::time::timeout(PATIENCE, worker.stopping()).await;
    assert!(stopped.is_ok(), "the worker goes on with a store that it cannot trust");
    let reason = red(&worker).expect("the worker is unhealthy");
    assert!(reason.contains("closed for good"), "{reason}");
    open_gate(&app, 1);
    let report = tokio::time::timeout(PATIENCE, worker.stopped()).await.expect("the worker stops");
    assert_eq!((report.how, report.cause, report.exit_code()), (StopKind::Warm, StopCause::Fault, 1));
    drop((app, results));

    // The disk works again, and so does the next start.
    DiskFaults::default().set(&path).unwrap();
    let app = live(&fixture).register::<text>().build().await.unwrap();
    open_gate(&app, 2);
    let worker = start(&app, 2).await;
    wait_until("nothing is left", async || {
        let stats = counts(&app).await;
        !stats.queue.is_empty() && (stats.ready, stats.unacked) == (0, 0)
    })
    .await;
    assert_eq!(dead(&app).await, 0);
    stop(worker, StopKind::Warm).await;
}
