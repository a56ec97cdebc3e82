//! Counting crashes, and the quarantine of messages that kill their worker (P4).

use crate::broker::consumer::{ConsumeSpec, Consumer};
use crate::conformance::fixture::Fixture;
use crate::conformance::kit::{ack, names, nothing_else, numbered, receipts, send, take};

async fn limited(f: &Fixture, max_crashes: u32) -> Box<dyn Consumer> {
    let spec = ConsumeSpec { max_crashes, ..f.spec(&["q"]) };
    f.broker.consume(spec).await.expect("could not consume")
}

/// Takes the one message, begins its run and dies.
async fn crash(f: &Fixture, max_crashes: u32) {
    let mut consumer = limited(f, max_crashes).await;
    let got = take(&mut consumer, 1).await;
    consumer.acker().mark_started(&receipts(&got)).await.expect("could not begin");
    f.kill(consumer).await;
}

/// After so many runs that began and whose worker died, the message lies in the dead set, and others flow on.
pub async fn a_crashing_message_is_quarantined(f: Fixture) {
    let Some(dead) = f.broker.dead() else { return };
    send(&f.broker, "q", &["killer"]).await;
    for round in 0..3 {
        assert_eq!(dead.count().await.expect("could not count"), 0, "quarantined after {round} crashes");
        crash(&f, 3).await;
    }
    let mut consumer = limited(&f, 3).await;
    nothing_else(&f.broker, "q", &mut consumer).await;
    let letters = dead.list(0, 10).await.expect("could not list");
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].code.as_str(), letters[0].task_id.as_deref()), ("crash-loop", Some("killer")));
    assert!(letters[0].reason.contains('3'), "{:?} does not say how often", letters[0].reason);
}

/// A delivery that was only prefetched does not count, however often its consumer dies.
pub async fn what_was_only_prefetched_does_not_count(f: Fixture) {
    send(&f.broker, "q", &numbered("m", 3)).await;
    for _ in 0..4 {
        let mut consumer = limited(&f, 1).await;
        assert_eq!(take(&mut consumer, 3).await.len(), 3);
        f.kill(consumer).await;
    }
    let mut consumer = limited(&f, 1).await;
    assert_eq!(names(&take(&mut consumer, 3).await), numbered("m", 3));
}

/// Only the runs that began count; what was prefetched beside them is delivered again.
pub async fn only_begun_runs_count(f: Fixture) {
    let Some(dead) = f.broker.dead() else { return };
    send(&f.broker, "q", &numbered("m", 3)).await;
    let mut consumer = limited(&f, 1).await;
    let got = take(&mut consumer, 3).await;
    consumer.acker().mark_started(&receipts(&got)[1..2]).await.expect("could not begin");
    f.kill(consumer).await;
    let mut consumer = limited(&f, 1).await;
    assert_eq!(names(&take(&mut consumer, 2).await), ["m0", "m2"]);
    assert_eq!(dead.count().await.expect("could not count"), 1);
}

/// A consumer that closes did not crash.
pub async fn closing_is_no_crash(f: Fixture) {
    send(&f.broker, "q", &["m"]).await;
    for _ in 0..3 {
        let mut consumer = limited(&f, 1).await;
        let got = take(&mut consumer, 1).await;
        consumer.acker().mark_started(&receipts(&got)).await.expect("could not begin");
        consumer.close().await.expect("could not close");
    }
    let mut consumer = limited(&f, 1).await;
    let got = take(&mut consumer, 1).await;
    ack(&*consumer, &got).await;
}

/// A limit of zero never quarantines.
pub async fn no_limit_never_quarantines(f: Fixture) {
    send(&f.broker, "q", &["m"]).await;
    for _ in 0..6 {
        crash(&f, 0).await;
    }
    let mut consumer = limited(&f, 0).await;
    assert_eq!(names(&take(&mut consumer, 1).await), ["m"]);
}

/// Beginning twice counts one crash.
pub async fn beginning_twice_counts_once(f: Fixture) {
    send(&f.broker, "q", &["m"]).await;
    let mut consumer = limited(&f, 2).await;
    let got = receipts(&take(&mut consumer, 1).await);
    consumer.acker().mark_started(&got).await.expect("could not begin");
    consumer.acker().mark_started(&got).await.expect("could not begin twice");
    f.kill(consumer).await;
    let mut consumer = limited(&f, 2).await;
    assert_eq!(names(&take(&mut consumer, 1).await), ["m"]);
}

/// A replayed message begins to count anew.
pub async fn a_replay_forgets_the_crashes(f: Fixture) {
    let Some(dead) = f.broker.dead() else { return };
    send(&f.broker, "q", &["m"]).await;
    crash(&f, 2).await;
    crash(&f, 2).await;
    let mut watcher = limited(&f, 2).await;
    nothing_else(&f.broker, "q", &mut watcher).await;
    watcher.close().await.expect("could not close");
    let key = dead.list(0, 10).await.expect("could not list")[0].key;
    assert_eq!(dead.replay(vec![key]).await.expect("could not replay"), 1);
    crash(&f, 2).await;
    let mut consumer = limited(&f, 2).await;
    assert_eq!(names(&take(&mut consumer, 1).await), ["m"]);
}
