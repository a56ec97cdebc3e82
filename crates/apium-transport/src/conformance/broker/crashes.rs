//! Counting crashes. What becomes of a message that kills its workers is for the worker to say.

use crate::broker::consumer::Delivery;
use crate::broker::settlement::Disposition;
use crate::conformance::fixture::Fixture;
use crate::conformance::kit::{ack, assert_lost, names, numbered, reason, receipts, reject, send, take};

/// Takes the one message, starts its run and dies.
async fn crash(f: &Fixture) {
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 1).await;
    consumer.acker().mark_started(&receipts(&got)).await.expect("could not mark as started");
    f.kill(consumer);
}

/// However often its runs kill their worker, a message is delivered again: a broker does not know what a task is.
pub async fn a_crashing_message_always_comes_again(f: Fixture) {
    send(&f.broker, "q", &["killer"]).await;
    for _ in 0..6 {
        crash(&f).await;
    }
    let mut consumer = f.consumer(&["q"]).await;
    assert_eq!(crashes(&take(&mut consumer, 1).await), [("killer".to_owned(), 6)]);
    assert_eq!(f.dead().count().await.expect("could not count"), 0);
}

fn crashes(batch: &[Delivery]) -> Vec<(String, u32)> {
    names(batch).into_iter().zip(batch.iter().map(|delivery| delivery.crashes)).collect()
}

/// A delivery says how many of its runs had started when their worker died, also after it was requeued or delayed.
pub async fn a_delivery_says_its_crashes(f: Fixture) {
    send(&f.broker, "q", &["killer", "other"]).await;
    for round in 0..4 {
        let mut consumer = f.consumer(&["q"]).await;
        let got = take(&mut consumer, 2).await;
        assert_eq!(crashes(&got), [("killer".to_owned(), round), ("other".to_owned(), 0)]);
        consumer.acker().mark_started(&receipts(&got)[..1]).await.expect("could not mark as started");
        f.kill(consumer);
    }
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 2).await;
    assert_eq!(crashes(&got), [("killer".to_owned(), 4), ("other".to_owned(), 0)]);
    ack(&*consumer, &got[1..]).await;
    reject(&*consumer, &got[..1], &Disposition::Requeue).await;
    let got = take(&mut consumer, 1).await;
    assert_eq!(crashes(&got), [("killer".to_owned(), 4)], "after a requeue");
    consumer.close().await.expect("could not close");
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 1).await;
    assert_eq!(crashes(&got), [("killer".to_owned(), 4)], "after its consumer was closed");
    reject(&*consumer, &got, &reason("it kills")).await;
    let key = f.dead().list(0, 10).await.expect("could not list")[0].key;
    assert_eq!(f.dead().replay(vec![key]).await.expect("could not replay"), 1);
    assert_eq!(crashes(&take(&mut consumer, 1).await), [("killer".to_owned(), 0)], "after a replay");
}

/// Of the runs in a consumer that dies, a suspect that began last counts a crash, and the others count none.
pub async fn a_suspect_takes_the_blame(f: Fixture) {
    send(&f.broker, "q", &numbered("m", 3)).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = receipts(&take(&mut consumer, 3).await);
    let acker = consumer.acker();
    acker.mark_started(&got[..2]).await.expect("could not mark as started");
    acker.mark_suspect(&got[1]).await.expect("could not mark as suspect");
    acker.mark_suspect(&got[2]).await.expect("could not mark as suspect");
    f.kill(consumer);
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 3).await;
    assert_eq!(crashes(&got), [("m0".to_owned(), 0), ("m1".to_owned(), 0), ("m2".to_owned(), 1)]);
    ack(&*consumer, &got).await;
}

/// A delivery keeps its crashes while it is delayed.
pub async fn a_delay_keeps_the_crashes(f: Fixture) {
    send(&f.broker, "q", &["m"]).await;
    crash(&f).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 1).await;
    reject(&*consumer, &got, &Disposition::Delay(f.after(f.tick()))).await;
    f.advance(f.tick());
    assert_eq!(crashes(&take(&mut consumer, 1).await), [("m".to_owned(), 1)]);
}

/// A delivery that was only prefetched does not count, however often its consumer dies.
pub async fn what_was_only_prefetched_does_not_count(f: Fixture) {
    send(&f.broker, "q", &numbered("m", 3)).await;
    for _ in 0..4 {
        let mut consumer = f.consumer(&["q"]).await;
        assert_eq!(take(&mut consumer, 3).await.len(), 3);
        f.kill(consumer);
    }
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 3).await;
    assert_eq!(crashes(&got), [("m0".to_owned(), 0), ("m1".to_owned(), 0), ("m2".to_owned(), 0)]);
}

/// Only started runs count, and not what was prefetched beside them.
pub async fn only_started_runs_count(f: Fixture) {
    send(&f.broker, "q", &numbered("m", 3)).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 3).await;
    consumer.acker().mark_started(&receipts(&got)[1..2]).await.expect("could not mark as started");
    f.kill(consumer);
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 3).await;
    assert_eq!(crashes(&got), [("m0".to_owned(), 0), ("m1".to_owned(), 1), ("m2".to_owned(), 0)]);
}

/// A consumer that closes did not crash.
pub async fn closing_is_no_crash(f: Fixture) {
    send(&f.broker, "q", &["m"]).await;
    for _ in 0..3 {
        let mut consumer = f.consumer(&["q"]).await;
        let got = take(&mut consumer, 1).await;
        consumer.acker().mark_started(&receipts(&got)).await.expect("could not mark as started");
        consumer.close().await.expect("could not close");
    }
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 1).await;
    assert_eq!(crashes(&got), [("m".to_owned(), 0)]);
    ack(&*consumer, &got).await;
}

/// Marking a run twice counts one crash.
pub async fn marking_twice_counts_once(f: Fixture) {
    send(&f.broker, "q", &["m"]).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = receipts(&take(&mut consumer, 1).await);
    consumer.acker().mark_started(&got).await.expect("could not mark as started");
    consumer.acker().mark_started(&got).await.expect("could not mark as started twice");
    f.kill(consumer);
    let mut consumer = f.consumer(&["q"]).await;
    assert_eq!(crashes(&take(&mut consumer, 1).await), [("m".to_owned(), 1)]);
}

/// A receipt of an earlier delivery starts no run.
pub async fn an_old_fence_starts_nothing(f: Fixture) {
    send(&f.broker, "q", &["m"]).await;
    let mut consumer = f.consumer(&["q"]).await;
    let old = take(&mut consumer, 1).await;
    reject(&*consumer, &old, &Disposition::Requeue).await;
    let new = take(&mut consumer, 1).await;
    assert_lost(consumer.acker().mark_started(&receipts(&old)).await, &receipts(&old));
    ack(&*consumer, &new).await;
}

/// A replayed message has no crashes, and counts from zero.
pub async fn a_replay_forgets_the_crashes(f: Fixture) {
    send(&f.broker, "q", &["m"]).await;
    crash(&f).await;
    crash(&f).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 1).await;
    assert_eq!(crashes(&got), [("m".to_owned(), 2)]);
    reject(&*consumer, &got, &reason("it kills")).await;
    consumer.close().await.expect("could not close");
    let key = f.dead().list(0, 10).await.expect("could not list")[0].key;
    assert_eq!(f.dead().replay(vec![key]).await.expect("could not replay"), 1);
    crash(&f).await;
    let mut consumer = f.consumer(&["q"]).await;
    assert_eq!(crashes(&take(&mut consumer, 1).await), [("m".to_owned(), 1)]);
}
