//! Messages with an eta wait in the broker (P7).

use std::time::Duration;

use crate::conformance::fixture::Fixture;
use crate::conformance::kit::{ack, assert_counts, join, names, next, nothing_else, numbered, send, take, to};

async fn park(f: &Fixture, name: &str, after: Duration) {
    f.broker.publish(vec![to("q", name).at(Some(f.after(after)))]).await.expect("could not publish");
}

/// An eta is never early, also not by a millisecond, and is due at its instant.
pub async fn an_eta_is_never_early(f: Fixture) {
    if !f.broker.capabilities().delays {
        return;
    }
    let mut consumer = f.consumer(&["q"]).await;
    park(&f, "m", f.tick()).await;
    assert_counts(&f, "q", (0, 0, 1)).await;
    nothing_else(&f.broker, "q", &mut consumer).await;
    if f.clock.is_manual() {
        f.pass(f.tick() - Duration::from_millis(1)).await;
        nothing_else(&f.broker, "q", &mut consumer).await;
        f.pass(Duration::from_millis(1)).await;
    }
    let due = f.after(Duration::ZERO);
    let got = take(&mut consumer, 1).await;
    assert_eq!(names(&got), ["m"]);
    assert!(!got[0].redelivered);
    assert!(f.clock.is_manual() || f.clock.now() >= due);
}

/// A consumer that waits is woken when the eta comes.
pub async fn a_due_eta_wakes_who_waits(f: Fixture) {
    if !f.broker.capabilities().delays {
        return;
    }
    park(&f, "m", f.tick()).await;
    let mut consumer = f.consumer(&["q"]).await;
    let (got, ()) = join(next(&mut consumer, 1), async {
        tokio::task::yield_now().await;
        f.pass(f.tick()).await;
    })
    .await;
    assert_eq!(names(&got), ["m"]);
}

/// An eta that is published while a consumer waits for a later one wakes it in time.
pub async fn an_earlier_eta_is_noticed(f: Fixture) {
    if !f.broker.capabilities().delays {
        return;
    }
    park(&f, "late", f.tick() * 1000).await;
    let mut consumer = f.consumer(&["q"]).await;
    let (got, ()) = join(next(&mut consumer, 1), async {
        tokio::task::yield_now().await;
        park(&f, "early", f.tick()).await;
        tokio::task::yield_now().await;
        f.pass(f.tick()).await;
    })
    .await;
    assert_eq!(names(&got), ["early"]);
    assert_counts(&f, "q", (0, 1, 1)).await;
}

/// Etas come in the order of their instants.
pub async fn etas_come_in_their_order(f: Fixture) {
    if !f.broker.capabilities().delays {
        return;
    }
    for (name, part) in [("third", 3), ("first", 1), ("fourth", 4), ("second", 2)] {
        park(&f, name, f.tick() * part / 4).await;
    }
    let mut consumer = f.consumer(&["q"]).await;
    f.pass(f.tick()).await;
    assert_eq!(names(&take(&mut consumer, 4).await), ["first", "second", "third", "fourth"]);
}

/// An eta that has passed is no reason to wait.
pub async fn a_past_eta_is_ready(f: Fixture) {
    f.broker.publish(vec![to("q", "m").at(Some(Fixture::start()))]).await.expect("could not publish");
    assert_counts(&f, "q", (1, 0, 0)).await;
    let mut consumer = f.consumer(&["q"]).await;
    assert_eq!(names(&take(&mut consumer, 1).await), ["m"]);
}

/// Parked messages take no room of any prefetch and hold up nothing.
pub async fn parked_messages_hold_up_nothing(f: Fixture) {
    if !f.broker.capabilities().delays {
        return;
    }
    let due = Some(f.after(f.tick() * 100));
    let batch = numbered("parked", 5000).iter().map(|name| to("q", name).at(due)).collect();
    f.broker.publish(batch).await.expect("could not publish");
    let mut consumer = f.limited("q", 1).await;
    send(&f.broker, "q", &numbered("m", 20)).await;
    for name in numbered("m", 20) {
        let got = next(&mut consumer, 1).await;
        assert_eq!(names(&got), [name]);
        ack(&*consumer, &got).await;
    }
    assert_counts(&f, "q", (0, 0, 5000)).await;
}

/// A parked message of a consumer that is gone is nobody's: it comes to whoever is there when it is due.
pub async fn an_eta_survives_its_consumer(f: Fixture) {
    if !f.broker.capabilities().delays {
        return;
    }
    let consumer = f.consumer(&["q"]).await;
    park(&f, "m", f.lease * 4).await;
    f.kill(consumer).await;
    f.pass(f.lease * 2).await;
    let mut other = f.consumer(&["q"]).await;
    assert_eq!(names(&take(&mut other, 1).await), ["m"]);
}
