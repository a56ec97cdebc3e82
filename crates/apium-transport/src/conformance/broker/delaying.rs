//! Messages with an eta wait in the broker.

use std::time::Duration;

use jiff::Timestamp;

use crate::broker::broker::PriorityOrder;
use crate::broker::settlement::Disposition;
use crate::conformance::fixture::Fixture;
use crate::conformance::kit::{
    ack, assert_counts, join, names, next, nothing_else, numbered, reject, send, take, to, with_priority,
};

/// Publishes a message that is due `after` this time, and returns when that is.
async fn publish_delayed(f: &Fixture, name: &str, after: Duration) -> Timestamp {
    let eta = f.after(after);
    f.broker.publish(vec![to("q", name).at(Some(eta))]).await.expect("could not publish");
    eta
}

/// A message is not delivered before its eta, and then as a first delivery.
pub async fn an_eta_is_never_early(f: Fixture) {
    let mut consumer = f.consumer(&["q"]).await;
    let eta = publish_delayed(&f, "m", f.tick()).await;
    f.advance(f.tick());
    let got = take(&mut consumer, 1).await;
    assert!(f.clock.now() >= eta, "delivered before {eta}");
    assert_eq!(names(&got), ["m"]);
    assert!(!got[0].redelivered);
}

/// An eta is not early by a millisecond, and due at its instant.
pub async fn an_eta_is_due_at_its_instant(f: Fixture) {
    let mut consumer = f.consumer(&["q"]).await;
    publish_delayed(&f, "m", f.tick()).await;
    assert_counts(&f, "q", (0, 0, 1)).await;
    nothing_else(&f.broker, "q", &mut consumer).await;
    f.advance(f.tick() - Duration::from_millis(1));
    nothing_else(&f.broker, "q", &mut consumer).await;
    f.advance(Duration::from_millis(1));
    assert_eq!(names(&take(&mut consumer, 1).await), ["m"]);
}

/// A consumer that waits is woken when the eta comes.
pub async fn a_due_eta_wakes_who_waits(f: Fixture) {
    publish_delayed(&f, "m", f.tick()).await;
    let mut consumer = f.consumer(&["q"]).await;
    let (got, ()) = join(next(&mut consumer, 1), async {
        tokio::task::yield_now().await;
        f.advance(f.tick());
    })
    .await;
    assert_eq!(names(&got), ["m"]);
}

/// An eta that is published while a consumer waits for a later one wakes it in time.
pub async fn an_earlier_eta_is_noticed(f: Fixture) {
    publish_delayed(&f, "late", f.tick() * 1000).await;
    let mut consumer = f.consumer(&["q"]).await;
    let (got, ()) = join(next(&mut consumer, 1), async {
        tokio::task::yield_now().await;
        publish_delayed(&f, "early", f.tick()).await;
        tokio::task::yield_now().await;
        f.advance(f.tick());
    })
    .await;
    assert_eq!(names(&got), ["early"]);
    assert_counts(&f, "q", (0, 1, 1)).await;
}

/// Delayed messages come in the order of their etas.
pub async fn etas_come_in_their_order(f: Fixture) {
    for (name, part) in [("third", 3), ("first", 1), ("fourth", 4), ("second", 2)] {
        publish_delayed(&f, name, f.tick() * part / 4).await;
    }
    let mut consumer = f.consumer(&["q"]).await;
    f.advance(f.tick());
    assert_eq!(names(&take(&mut consumer, 4).await), ["first", "second", "third", "fourth"]);
}

/// A message whose eta has passed can be delivered at once.
pub async fn a_past_eta_is_ready(f: Fixture) {
    f.broker.publish(vec![to("q", "m").at(Some(Fixture::start()))]).await.expect("could not publish");
    assert_counts(&f, "q", (1, 0, 0)).await;
    let mut consumer = f.consumer(&["q"]).await;
    assert_eq!(names(&take(&mut consumer, 1).await), ["m"]);
}

/// Delayed messages count towards no prefetch and hold up nothing.
pub async fn delayed_messages_hold_up_nothing(f: Fixture) {
    let due = Some(f.after(f.tick() * 100));
    let batch = numbered("delayed", 5000).iter().map(|name| to("q", name).at(due)).collect();
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

/// A thousand delayed messages of the highest priority do not hold back one of the lowest that is ready, whether they
/// were published with their eta or delayed by a worker.
pub async fn delayed_messages_of_the_highest_priority_hold_back_nothing(f: Fixture) {
    let (highest, lowest) = match f.broker.capabilities().priority_order {
        PriorityOrder::LargerFirst => (9, 0),
        PriorityOrder::SmallerFirst => (0, 9),
    };
    let due = f.after(f.tick() * 100);
    let ready = |name: &str| with_priority("q", name, lowest);
    let published = numbered("published", 500).into_iter().map(|name| with_priority("q", &name, highest).at(Some(due)));
    f.broker.publish(published.chain([ready("first")]).collect()).await.expect("could not publish");
    let mut consumer = f.limited("q", 1).await;
    let got = next(&mut consumer, 10).await;
    assert_eq!(names(&got), ["first"]);
    ack(&*consumer, &got).await;
    consumer.close().await.expect("could not close");

    let received = numbered("received", 500).into_iter().map(|name| with_priority("q", &name, highest));
    f.broker.publish(received.chain([ready("second")]).collect()).await.expect("could not publish");
    let mut consumer = f.limited("q", 100).await;
    for _ in 0..5 {
        let got = take(&mut consumer, 100).await;
        assert!(names(&got).iter().all(|name| name.starts_with("received")));
        reject(&*consumer, &got, &Disposition::Delay(due)).await;
    }
    assert_eq!(names(&next(&mut consumer, 10).await), ["second"]);
    assert_counts(&f, "q", (0, 1, 1000)).await;
}

/// A delayed message outlives the consumers of its queue, and comes to whoever is there when it is due.
pub async fn an_eta_survives_its_consumer(f: Fixture) {
    let consumer = f.consumer(&["q"]).await;
    publish_delayed(&f, "m", f.lease * 4).await;
    f.kill(consumer);
    f.advance(f.lease * 2);
    let mut other = f.consumer(&["q"]).await;
    assert_eq!(names(&take(&mut other, 1).await), ["m"]);
}
