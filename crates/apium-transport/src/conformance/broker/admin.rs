//! Administration of queues.

use jiff::Timestamp;

use crate::broker::consumer::ConsumeSpec;
use crate::broker::queue_admin::QueueStats;
use crate::broker::topology::{Queue, Topology};
use crate::conformance::fixture::Fixture;
use crate::conformance::kit::{
    ack, assert_counts, depth, names, nothing_else, numbered, send, stats, take, through, to, until, with_priority,
};
use crate::error::ErrorKind;

/// Long against any case, also on the machine's clock.
const TICKS: u32 = 1000;

/// The depth is what can be delivered, not what is in flight.
pub async fn depth_counts_what_can_be_delivered(f: Fixture) {
    send(&f.broker, "q", &numbered("m", 5)).await;
    assert_eq!((depth(&f, "q").await, depth(&f, "missing").await), (5, 0));
    let mut consumer = f.limited("q", 2).await;
    let in_flight = take(&mut consumer, 2).await;
    assert_eq!(depth(&f, "q").await, 3);
    ack(&*consumer, &in_flight[..1]).await;
    consumer.close().await.expect("could not close");
    assert_eq!(depth(&f, "q").await, 4);
}

/// A delayed message counts once it is due.
pub async fn depth_counts_what_is_due(f: Fixture) {
    let batch = vec![to("q", "near").at(Some(f.after(f.tick()))), to("q", "far").at(Some(f.after(f.tick() * TICKS)))];
    f.broker.publish(batch).await.expect("could not publish");
    f.advance(f.tick());
    until("the near message is due", async || depth(&f, "q").await == 1).await;
}

/// Counts are right, and sorted by name.
pub async fn stats_count_everything(f: Fixture) {
    send(&f.broker, "b", &numbered("m", 5)).await;
    send(&f.broker, "a", &["m"]).await;
    let mut consumer = f.consumer(&["b", "c"]).await;
    let got = take(&mut consumer, 3).await;
    ack(&*consumer, &got[..1]).await;
    let wanted = [
        QueueStats { queue: "a".to_owned(), ready: 1, ..QueueStats::default() },
        QueueStats { queue: "b".to_owned(), ready: 2, unacked: 2, delayed: 0, consumers: 1 },
        QueueStats { queue: "c".to_owned(), consumers: 1, ..QueueStats::default() },
    ];
    assert_eq!(f.counts().stats().await.expect("could not count"), wanted);
    consumer.close().await.expect("could not close");
    assert_eq!(stats(&f, "b").await, QueueStats { queue: "b".to_owned(), ready: 4, ..QueueStats::default() });
}

/// A delayed message is counted as delayed, and as ready when it is due.
pub async fn stats_count_what_is_delayed(f: Fixture) {
    send(&f.broker, "q", &["m"]).await;
    let far = to("q", "far").at(Some(f.after(f.tick() * TICKS)));
    f.broker.publish(vec![far]).await.expect("could not publish");
    let wanted = QueueStats { queue: "q".to_owned(), ready: 1, delayed: 1, ..QueueStats::default() };
    assert_eq!(f.counts().stats().await.expect("could not count"), [wanted]);
    let near = to("q", "near").at(Some(f.after(f.tick())));
    f.broker.publish(vec![near]).await.expect("could not publish");
    f.advance(f.tick());
    until("the near message is due", async || {
        let found = stats(&f, "q").await;
        (found.ready, found.delayed) == (2, 1)
    })
    .await;
}

/// Peeking shows the next messages in the order of delivery and leaves them where they are.
pub async fn peek_leaves_everything(f: Fixture) {
    f.broker.publish(vec![with_priority("q", "a", 1), with_priority("q", "b", 1)]).await.expect("could not publish");
    for limit in [0, 1, 2, 10] {
        let seen = f.messages().peek("q", limit).await.expect("could not peek");
        let seen: Vec<_> = seen.iter().map(|out| &*out.message.body).collect();
        assert_eq!(seen, [b"a", b"b"][..limit.min(2)]);
    }
    let seen = f.messages().peek("q", 1).await.expect("could not peek");
    assert_eq!((&*seen[0].exchange, &*seen[0].routing_key), ("", "q"));
    assert_eq!(seen[0].message, with_priority("q", "a", 1).message);
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 2).await;
    assert_eq!(names(&got), ["a", "b"]);
    assert!(!got[0].redelivered);
    assert!(f.messages().peek("q", 10).await.expect("could not peek").is_empty(), "peek shows what is in flight");
    assert!(f.messages().peek("missing", 10).await.expect("could not peek").is_empty());
}

/// What waits for its eta is seen, the soonest first and with its eta, until it is due.
pub async fn peek_shows_what_is_delayed(f: Fixture) {
    // Brokers keep etas in whole microseconds.
    let after = |ticks: u32| Timestamp::from_microsecond(f.after(f.tick() * ticks).as_microsecond()).expect("a time");
    let (near, far, farther) = (after(1), after(TICKS), after(TICKS * 2));
    let delayed = |name: &str, priority, eta| with_priority("q", name, priority).at(Some(eta));
    let batch = vec![delayed("farther", 0, farther), delayed("far", 3, far), delayed("near", 0, near), to("q", "m")];
    f.broker.publish(batch).await.expect("could not publish");
    f.advance(f.tick());
    until("the near message is due", async || depth(&f, "q").await == 2).await;
    for limit in [0, 1, 2, 10] {
        let seen = f.messages().peek_delayed("q", limit).await.expect("could not peek");
        let seen: Vec<_> = seen.iter().map(|out| (&*out.message.body, out.eta)).collect();
        assert_eq!(seen, [(&b"far"[..], Some(far)), (b"farther", Some(farther))][..limit.min(2)]);
    }
    let seen = f.messages().peek_delayed("q", 1).await.expect("could not peek");
    assert_eq!((&*seen[0].exchange, &*seen[0].routing_key), ("", "q"));
    assert_eq!(seen[0].message, with_priority("q", "far", 3).message);
    assert!(f.messages().peek_delayed("missing", 10).await.expect("could not peek").is_empty());
}

/// Purging deletes what can be delivered and leaves what is in flight.
pub async fn purge_leaves_what_is_delivered(f: Fixture) {
    send(&f.broker, "q", &numbered("m", 5)).await;
    send(&f.broker, "other", &["stays"]).await;
    let mut consumer = f.limited("q", 2).await;
    let in_flight = take(&mut consumer, 2).await;
    assert_eq!(f.queues().purge("q").await.expect("could not purge"), 3);
    assert_counts(&f, "q", (0, 2, 0)).await;
    assert_counts(&f, "other", (1, 0, 0)).await;
    ack(&*consumer, &in_flight).await;
    nothing_else(&f.broker, "q", &mut consumer).await;
}

/// Purging deletes what is delayed too.
pub async fn purge_deletes_what_is_delayed(f: Fixture) {
    send(&f.broker, "q", &["m"]).await;
    let batch = vec![to("q", "delayed").at(Some(f.after(f.tick() * TICKS)))];
    f.broker.publish(batch).await.expect("could not publish");
    assert_eq!(f.queues().purge("q").await.expect("could not purge"), 2);
    assert_counts(&f, "q", (0, 0, 0)).await;
    f.advance(f.tick() * TICKS);
    let mut consumer = f.consumer(&["q"]).await;
    nothing_else(&f.broker, "q", &mut consumer).await;
}

/// A deleted queue is gone with its messages and its bindings, and can be made again.
pub async fn delete_removes_the_queue(f: Fixture) {
    f.broker.declare(&Topology { queues: vec![Queue::new("q")] }).await.expect("could not declare");
    send(&f.broker, "q", &numbered("m", 5)).await;
    f.queues().delete("q").await.expect("could not delete");
    assert_eq!(depth(&f, "q").await, 0);
    let error = f.broker.publish(vec![through("q", "q", "m")]).await.expect_err("the binding is still there");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    send(&f.broker, "q", &["new"]).await;
    assert_counts(&f, "q", (1, 0, 0)).await;
    let mut consumer = f.consumer(&["q"]).await;
    assert_eq!(names(&take(&mut consumer, 1).await), ["new"]);
}

/// A deleted queue is not listed.
pub async fn a_deleted_queue_is_not_listed(f: Fixture) {
    send(&f.broker, "q", &["m"]).await;
    f.queues().delete("q").await.expect("could not delete");
    assert!(f.counts().stats().await.expect("could not count").is_empty());
}

/// A missing queue counts as an empty one.
pub async fn a_missing_queue_is_empty(f: Fixture) {
    assert_eq!(f.queues().purge("missing").await.expect("could not purge"), 0);
    f.queues().delete("missing").await.expect("could not delete");
    assert_eq!(depth(&f, "missing").await, 0);
}

/// Asking for a missing queue does not make it.
pub async fn a_missing_queue_is_not_listed(f: Fixture) {
    f.queues().purge("missing").await.expect("could not purge");
    f.queues().delete("missing").await.expect("could not delete");
    assert_eq!(depth(&f, "missing").await, 0);
    assert!(f.counts().stats().await.expect("could not count").is_empty());
}

async fn named(f: &Fixture, node: &str) -> u64 {
    f.consumers().consumers_named(node).await.expect("could not count the consumers")
}

/// Live consumers are counted by the node name that they gave; closed and dead ones do not count.
pub async fn consumers_are_counted_by_node(f: Fixture) {
    assert_eq!(named(&f, "a@h").await, 0);
    let open = async |node: &str| {
        let spec = ConsumeSpec { node: node.to_owned(), ..f.spec(&["q"]) };
        f.broker.consume(spec).await.expect("could not consume")
    };
    let (first, second, other) = (open("a@h").await, open("a@h").await, open("b@h").await);
    assert_eq!((named(&f, "a@h").await, named(&f, "b@h").await), (2, 1));
    first.close().await.expect("could not close");
    assert_eq!(named(&f, "a@h").await, 1);
    f.kill(second);
    until("the dead consumer does not count", async || named(&f, "a@h").await == 0).await;
    assert_eq!(named(&f, "b@h").await, 1);
    other.close().await.expect("could not close");
}
