//! Another process has the file locked: everybody waits until a deadline and no longer.

use std::path::Path;
use std::time::{Duration, Instant};

use apium_sqlite::SqliteDriver;
use apium_transport::clock::Clock;
use apium_transport::conformance::Handles;
use apium_transport::driver::{Driver as _, DriverOptions};
use apium_transport::error::{ErrorKind, Result};
use rusqlite::Connection;

use crate::kit::{address, id_of, open, soon, spec, to};

/// What a call may take beyond its deadline, on a busy machine.
const SLACK: Duration = Duration::from_secs(2);

/// A connection that has the file locked until it is dropped.
fn lock(path: &Path) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    conn
}

/// Opens a file and waits for other processes as long as `patience`.
async fn open_with(path: &Path, patience: Duration) -> Result<Handles> {
    let driver = SqliteDriver::new();
    let mut options = DriverOptions::new(Clock::system());
    options.connect_timeout = patience;
    let broker = driver.broker(address(path), options.clone()).await?;
    Ok(Handles::new(broker, driver.backend(address(path), options).await?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_was_given_up_holds_nobody_up_and_publishes_nothing_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let handles = open_with(&path, Duration::from_secs(60)).await.unwrap();
    handles.broker.publish(vec![to("q", "before")]).await.unwrap();
    let locked = lock(&path);
    let began = Instant::now();
    let call = tokio::time::timeout(Duration::from_millis(100), handles.broker.publish(vec![to("q", "given up")]));
    assert!(call.await.is_err(), "it was published although the file is locked");
    handles.broker.close().await.unwrap();
    tokio::task::spawn_blocking(move || drop(handles)).await.unwrap();
    assert!(began.elapsed() < SLACK, "the end of the program took {:?}", began.elapsed());
    drop(locked);
    let handles = open(&path, &Clock::system()).await;
    let mut consumer = handles.broker.consume(spec("q", "n@h", 0)).await.unwrap();
    let got = soon("the message of before", consumer.next(10)).await.unwrap();
    assert_eq!(got.iter().map(id_of).collect::<Vec<_>>(), ["before"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_waits_for_its_own_deadline_and_not_for_those_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let patience = Duration::from_secs(3);
    let handles = open_with(&path, patience).await.unwrap();
    handles.broker.publish(vec![to("q", "before")]).await.unwrap();
    let locked = lock(&path);
    let publish = async |id: &str| {
        let began = Instant::now();
        let error = handles.broker.publish(vec![to("q", id)]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error:#}");
        assert!(began.elapsed() >= patience, "given up after {:?}", began.elapsed());
        assert!(began.elapsed() < patience + SLACK, "{id} took {:?}", began.elapsed());
    };
    let later = async {
        // After these the writer waits for the first one.
        for _ in 0..100 {
            assert_eq!(handles.broker.queues().unwrap().depth("q").await.unwrap(), 1);
        }
        publish("second").await;
    };
    tokio::join!(publish("first"), later);
    assert!(!handles.broker.health().is_green(), "nobody is told that the file is locked");
    drop(locked);
    handles.broker.publish(vec![to("q", "third")]).await.unwrap();
    assert!(handles.broker.health().is_green());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_a_locked_file_ends_with_one_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    // Another process is making the file.
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("BEGIN EXCLUSIVE; CREATE TABLE t (a)").unwrap();
    let patience = Duration::from_millis(700);
    let began = Instant::now();
    let error = open_with(&path, patience).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:#}");
    assert!(began.elapsed() >= patience, "{:?}", began.elapsed());
    assert!(began.elapsed() < patience + SLACK, "{:?}", began.elapsed());
}
