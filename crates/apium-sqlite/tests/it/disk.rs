//! A disk that is full, takes no flush, or a store that takes nothing large: what can be done later is done later, and
//! what cannot be done any more is said.

use std::path::Path;
use std::time::Duration;

use apium_protocol::json::text::Json;
use apium_protocol::result::document::ResultDocument;
use apium_protocol::result::state::State;
use apium_sqlite::faults::DiskFaults;
use apium_transport::backend::backend::ResultRecord;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::settlement::{Acknowledgement, Receipt, Settlement};
use apium_transport::clock::Clock;
use apium_transport::conformance::Handles;
use apium_transport::error::ErrorKind;
use apium_transport::health::Health;
use futures_util::StreamExt;

use crate::kit::{id_of, open, receipts, soon, spec, to};

const FULL: DiskFaults = DiskFaults { full: true, flush_fails: false, max_length: None };
const NO_FLUSH: DiskFaults = DiskFaults { full: false, flush_fails: true, max_length: None };

fn large(queue: &str, id: &str, bytes: usize) -> Outgoing {
    let mut out = to(queue, id);
    out.message.body = vec![b'x'; bytes].into();
    out
}

fn ends(receipt: &Receipt, id: &str, bytes: usize) -> Settlement {
    let result = Json::from_serialize(&"x".repeat(bytes)).unwrap();
    let record = ResultRecord::new(ResultDocument::new(id, State::Success, result));
    Settlement::default().storing(Some(record)).ending(Some((receipt.clone(), Acknowledgement::Ack)))
}

fn reason(handles: &Handles) -> String {
    match (handles.broker.health(), handles.backend.health()) {
        (Health::Red { reason, .. }, Health::Red { reason: of_backend, .. }) => {
            assert_eq!(reason, of_backend);
            reason
        }
        healths => panic!("the store is not red: {healths:?}"),
    }
}

async fn stored(handles: &Handles, id: &str) -> Option<State> {
    let found = handles.backend.stored().unwrap().fetch(&[id.into()]).await.unwrap();
    found.into_iter().flatten().next().map(|document| document.state)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_an_error_that_passes_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let handles = open(&path, &Clock::system()).await;
    handles.broker.publish((0..4).map(|n| to("q", &format!("m{n}"))).collect()).await.unwrap();
    let mut consumer = handles.broker.consume(spec("q", "n@h", 4)).await.unwrap();
    let mut in_flight = Vec::new();
    while in_flight.len() < 4 {
        in_flight.extend(soon("four messages", consumer.next(4)).await.unwrap());
    }
    let settlements = || -> Vec<Settlement> {
        in_flight.iter().map(|delivery| ends(&delivery.receipt, &id_of(delivery), 200_000)).collect()
    };
    let acker = consumer.acker();
    FULL.set(&path).unwrap();
    for _ in 0..3 {
        let error = acker.atomic().unwrap().settle(settlements()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:#}");
        assert!(error.to_string().contains("the disk is full"), "{error}");
        assert!(reason(&handles).contains("the disk is full"));
    }
    let error = handles.broker.publish(vec![large("q", "big", 2_000_000)]).await.unwrap_err();
    assert!(error.is_retryable(), "{error:#}");
    // Something small that succeeds does not make the store green: settling still fails.
    handles.broker.queues().unwrap().purge("nothing").await.unwrap();
    assert!(!handles.broker.health().is_green());
    DiskFaults::default().set(&path).unwrap();
    acker.atomic().unwrap().settle(settlements()).await.unwrap();
    handles.broker.publish(vec![large("q", "big", 2_000_000)]).await.unwrap();
    assert!(handles.broker.health().is_green() && handles.backend.health().is_green());
    for delivery in &in_flight {
        assert_eq!(stored(&handles, &id_of(delivery)).await, Some(State::Success));
    }
    let got = soon("the message that was too much before", consumer.next(4)).await.unwrap();
    assert_eq!(got.iter().map(id_of).collect::<Vec<_>>(), ["big"], "the prefetch has shrunk, or something came again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_finds_out_that_there_is_room_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let clock = Clock::manual(Clock::system().now());
    let handles = open(&path, &clock).await;
    FULL.set(&path).unwrap();
    handles.broker.publish(vec![large("q", "big", 2_000_000)]).await.unwrap_err();
    assert!(!handles.backend.health().is_green());
    DiskFaults::default().set(&path).unwrap();
    clock.advance(Duration::from_secs(11));
    let until_green = async {
        while !handles.backend.health().is_green() {
            assert_eq!(stored(&handles, "nobody").await, None);
        }
    };
    soon("the health to be green, although nobody writes", until_green).await;
}

/// Publishes with a disk that takes no flush. Returns the handles of the store that closed itself.
async fn after_failed_flush(path: &Path) -> Handles {
    let handles = open(path, &Clock::system()).await;
    handles.broker.publish(vec![to("q", "kept")]).await.unwrap();
    NO_FLUSH.set(path).unwrap();
    let error = handles.broker.publish(vec![to("q", "perhaps")]).await.unwrap_err();
    assert!(error.is_final(), "{error:#}");
    assert!(error.to_string().contains("may have lost it"), "{error}");
    handles
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_flush_the_store_is_closed_for_good_although_the_next_would_succeed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let handles = after_failed_flush(&path).await;
    DiskFaults::default().set(&path).unwrap();
    let error = handles.broker.publish(vec![to("q", "later")]).await.unwrap_err();
    assert!(error.is_final(), "{error:#}");
    assert!(error.to_string().contains("closed for good"), "{error}");
    let error = handles.backend.stored().unwrap().fetch(&["kept".into()]).await.unwrap_err();
    assert!(error.is_final(), "{error:#}");
    assert!(reason(&handles).contains("closed for good"));
    drop(handles);
    // Another start has what is there.
    let handles = open(&path, &Clock::system()).await;
    assert!(handles.broker.health().is_green());
    let mut consumer = handles.broker.consume(spec("q", "n@h", 0)).await.unwrap();
    let got = soon("what was flushed", consumer.next(10)).await.unwrap();
    assert_eq!(id_of(&got[0]), "kept");
    assert!(got.iter().all(|delivery| id_of(delivery) != "later"), "a refused message was published");
    consumer.acker().ack(receipts(&got)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_is_told_that_the_store_closed_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let handles = open(&path, &Clock::system()).await;
    let mut consumer = handles.broker.consume(spec("empty", "n@h", 0)).await.unwrap();
    let mut watch = handles.backend.watch(vec!["a".into()]).await.unwrap();
    let breaks = async {
        NO_FLUSH.set(&path).unwrap();
        handles.broker.publish(vec![to("q", "m")]).await.unwrap_err();
    };
    let waits = async {
        let (next, watched) = tokio::join!(consumer.next(1), watch.next());
        assert!(next.unwrap_err().is_final());
        watched.unwrap().unwrap_err();
    };
    soon("the end of those who wait", async { tokio::join!(waits, breaks) }).await;
}

#[tokio::test]
async fn what_is_larger_than_the_store_takes_says_so_and_disturbs_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let handles = open(&path, &Clock::system()).await;
    DiskFaults { max_length: Some(100_000), ..DiskFaults::default() }.set(&path).unwrap();
    let small = handles.broker.publish(vec![to("q", "small")]);
    let (too_large, small) = tokio::join!(handles.broker.publish(vec![large("q", "large", 200_000)]), small);
    small.unwrap();
    let error = too_large.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error:#}");
    assert!(!error.is_retryable());
    let mut consumer = handles.broker.consume(spec("q", "n@h", 0)).await.unwrap();
    let got = soon("the small message", consumer.next(10)).await.unwrap();
    let settled = consumer.acker().atomic().unwrap().settle(vec![ends(&got[0].receipt, "small", 200_000)]).await;
    assert_eq!(settled.unwrap_err().kind(), ErrorKind::TooLarge);
    assert!(handles.broker.health().is_green(), "the store works");
    consumer.acker().atomic().unwrap().settle(vec![ends(&got[0].receipt, "small", 50)]).await.unwrap();
}
