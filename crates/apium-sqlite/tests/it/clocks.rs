//! Somebody sets the clock of the machine, or a process is stopped: who lives keeps what it has in flight, and who is
//! silent for a lease loses it. Each handle has a clock of its own here, as another process has.

use std::path::Path;
use std::time::Duration;

use apium_transport::broker::consumer::Consumer;
use apium_transport::clock::Clock;
use apium_transport::conformance::Handles;
use apium_transport::error::ErrorKind;
use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;

use crate::kit::{id_of, open, receipts, soon, spec, to};

const LEASE: Duration = Duration::from_secs(30);
const DAY: SignedDuration = SignedDuration::from_hours(24);

fn noon() -> Timestamp {
    Timestamp::from_second(1_767_323_045).unwrap()
}

/// The lease of a worker, as its row has it.
fn lease_until(path: &Path, node: &str) -> Option<i64> {
    let conn = Connection::open(path).unwrap();
    let mut select = conn.prepare("SELECT lease_until FROM consumer WHERE node = ?1").unwrap();
    select.query_map([node], |row| row.get(0)).unwrap().next().map(|until| until.unwrap())
}

/// A worker that looks at the leases of the others.
struct Observer {
    _handles: Handles,
    consumer: Box<dyn Consumer>,
    clock: Clock,
}

impl Observer {
    async fn start(path: &Path) -> Self {
        let clock = Clock::manual(noon());
        let handles = open(path, &clock).await;
        let consumer = handles.broker.consume(spec("q", "observer@h", 0)).await.unwrap();
        Self { _handles: handles, consumer, clock }
    }

    /// Turns its clock, so that it looks once more, and waits for that. What follows from the look before is done then.
    async fn looks(&self, path: &Path, turned: Duration) {
        let before = lease_until(path, "observer@h");
        self.clock.advance(turned);
        let renewed = async {
            while lease_until(path, "observer@h") == before {
                tokio::task::yield_now().await;
            }
        };
        soon("the observer to look", renewed).await;
    }
}

/// A worker whose clock stands still: it does not renew its lease. It has one message.
async fn silent(
    path: &Path,
    lease: Duration,
) -> (Handles, Box<dyn Consumer>, Vec<apium_transport::broker::settlement::Receipt>) {
    let handles = open(path, &Clock::manual(noon())).await;
    handles.broker.publish(vec![to("q", "m")]).await.unwrap();
    let mut spec = spec("q", "silent@h", 0);
    spec.lease = lease;
    let mut consumer = handles.broker.consume(spec).await.unwrap();
    let got = soon("the message", consumer.next(1)).await.unwrap();
    (handles, consumer, receipts(&got))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_takes_no_living_workers_messages() {
    for step in [DAY, -DAY] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q.db");
        let (_handles, consumer, in_flight) = silent(&path, LEASE).await;
        let observer = Observer::start(&path).await;
        observer.looks(&path, LEASE / 3).await;
        observer.clock.set(noon() + step);
        for _ in 0..2 {
            observer.looks(&path, LEASE / 3).await;
        }
        consumer.acker().ack(in_flight).await.expect("its message was given away");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_silent_for_a_lease_loses_its_messages_whatever_the_time_of_day_is() {
    for step in [DAY, -DAY] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q.db");
        let (_handles, consumer, in_flight) = silent(&path, LEASE).await;
        let mut observer = Observer::start(&path).await;
        observer.clock.set(noon() + step);
        // The first look sees the lease, and three more make a lease.
        let mut looks = 0;
        while lease_until(&path, "silent@h").is_some() {
            assert!(looks < 10, "the lease of a silent worker never ends");
            observer.looks(&path, LEASE / 3).await;
            looks += 1;
            assert!(looks >= 4 || lease_until(&path, "silent@h").is_some(), "taken after {looks} looks");
        }
        let got = soon("the message of the silent", observer.consumer.next(1)).await.unwrap();
        assert_eq!((id_of(&got[0]).as_str(), got[0].redelivered), ("m", true));
        assert_eq!(consumer.acker().ack(in_flight).await.unwrap_err().kind(), ErrorKind::LeaseLost);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_slept_gives_every_worker_the_time_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let (_handles, consumer, in_flight) = silent(&path, LEASE).await;
    let observer = Observer::start(&path).await;
    observer.looks(&path, LEASE / 3).await;
    // The observer was stopped for hours, with everybody else.
    observer.looks(&path, LEASE * 1000).await;
    observer.looks(&path, LEASE / 3).await;
    consumer.acker().ack(in_flight).await.expect("its message was given away");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_lease_is_not_measured_by_the_short_one_of_another_worker() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let (_handles, consumer, in_flight) = silent(&path, LEASE * 100).await;
    let observer = Observer::start(&path).await;
    observer.clock.set(noon() + DAY);
    for _ in 0..6 {
        observer.looks(&path, LEASE / 3).await;
    }
    consumer.acker().ack(in_flight).await.expect("its message was given away");
}
