//! Administration of queues.

use crate::broker::broker::QueueStats;
use crate::broker::consumer::ConsumeSpec;
use crate::broker::topology::{Queue, Topology};
use crate::conformance::fixture::Fixture;
use crate::conformance::kit::{
    ack, assert_counts, names, nothing_else, numbered, send, soon, stats, take, through, to, with_priority,
};
use crate::error::ErrorKind;

/// Counts are right and sorted by name.
pub async fn stats_count_everything(f: Fixture) {
    let Some(admin) = f.broker.queues() else { return };
    send(&f.broker, "b", &numbered("m", 5)).await;
    send(&f.broker, "a", &["m"]).await;
    let mut consumer = f.consumer(&["b", "c"]).await;
    let got = take(&mut consumer, 3).await;
    ack(&*consumer, &got[..1]).await;
    let mut wanted = vec![
        QueueStats { queue: "a".to_owned(), ready: 1, ..QueueStats::default() },
        QueueStats { queue: "b".to_owned(), ready: 2, unacked: 2, delayed: 0, consumers: 1 },
        QueueStats { queue: "c".to_owned(), consumers: 1, ..QueueStats::default() },
    ];
    assert_eq!(admin.stats().await.expect("could not count"), wanted);
    if f.broker.capabilities().delays {
        let eta = Some(f.after(f.tick()));
        f.broker.publish(vec![to("a", "parked").at(eta)]).await.expect("could not publish");
        wanted[0].delayed = 1;
        assert_eq!(admin.stats().await.expect("could not count"), wanted);
        f.pass(f.tick()).await;
        assert_eq!((stats(&f, "a").await.ready, stats(&f, "a").await.delayed), (2, 0));
    }
    consumer.close().await.expect("could not close");
    assert_eq!(stats(&f, "b").await, QueueStats { queue: "b".to_owned(), ready: 4, ..QueueStats::default() });
}

/// Peeking shows the next messages in order of delivery and leaves them where they are.
pub async fn peek_leaves_everything(f: Fixture) {
    let Some(admin) = f.broker.queues() else { return };
    f.broker.publish(vec![with_priority("q", "a", 1), with_priority("q", "b", 1)]).await.expect("could not publish");
    for limit in [0, 1, 2, 10] {
        let seen = admin.peek("q", limit).await.expect("could not peek");
        let seen: Vec<_> = seen.iter().map(|out| &*out.message.body).collect();
        assert_eq!(seen, [b"a", b"b"][..limit.min(2)]);
    }
    let seen = admin.peek("q", 1).await.expect("could not peek");
    assert_eq!((&*seen[0].exchange, &*seen[0].routing_key), ("", "q"));
    assert_eq!(seen[0].message, with_priority("q", "a", 1).message);
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 2).await;
    assert_eq!(names(&got), ["a", "b"]);
    assert!(!got[0].redelivered);
    assert!(admin.peek("q", 10).await.expect("could not peek").is_empty(), "peek shows what is delivered");
}

/// Purging deletes what waits and what is parked, and leaves what is delivered.
pub async fn purge_leaves_what_is_delivered(f: Fixture) {
    let Some(admin) = f.broker.queues() else { return };
    send(&f.broker, "q", &numbered("m", 5)).await;
    send(&f.broker, "other", &["stays"]).await;
    let mut purged = 3;
    if f.broker.capabilities().delays {
        let eta = Some(f.after(f.tick()));
        f.broker.publish(vec![to("q", "parked").at(eta)]).await.expect("could not publish");
        purged += 1;
    }
    let mut consumer = f.limited("q", 2).await;
    let held = take(&mut consumer, 2).await;
    assert_eq!(admin.purge("q").await.expect("could not purge"), purged);
    assert_counts(&f, "q", (0, 2, 0)).await;
    assert_counts(&f, "other", (1, 0, 0)).await;
    ack(&*consumer, &held).await;
    f.pass(f.tick()).await;
    nothing_else(&f.broker, "q", &mut consumer).await;
}

/// A deleted queue is gone with its messages and its bindings, and can be made again.
pub async fn delete_removes_the_queue(f: Fixture) {
    let Some(admin) = f.broker.queues() else { return };
    f.broker.declare(&Topology { queues: vec![Queue::new("q")] }).await.expect("could not declare");
    send(&f.broker, "q", &numbered("m", 5)).await;
    admin.delete("q").await.expect("could not delete");
    assert!(admin.stats().await.expect("could not count").is_empty());
    let error = f.broker.publish(vec![through("q", "q", "m")]).await.expect_err("the binding is still there");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    send(&f.broker, "q", &["new"]).await;
    assert_counts(&f, "q", (1, 0, 0)).await;
    let mut consumer = f.consumer(&["q"]).await;
    assert_eq!(names(&take(&mut consumer, 1).await), ["new"]);
}

/// A missing queue counts as an empty one.
pub async fn a_missing_queue_is_empty(f: Fixture) {
    let Some(admin) = f.broker.queues() else { return };
    assert!(admin.peek("missing", 10).await.expect("could not peek").is_empty());
    assert_eq!(admin.purge("missing").await.expect("could not purge"), 0);
    admin.delete("missing").await.expect("could not delete");
    assert!(admin.stats().await.expect("could not count").is_empty());
}

/// Live consumers are counted by the node name they gave, through any handle; closed and dead ones do not count.
pub async fn consumers_are_counted_by_node(f: Fixture) {
    let Some(admin) = f.broker.queues() else { return };
    let named = async |node: &str| admin.consumers_named(node).await.expect("could not count the consumers");
    assert_eq!(named("a@h").await, 0);
    let open = async |node: &str| {
        let spec = ConsumeSpec { node: node.to_owned(), ..f.spec(&["q"]) };
        f.broker.consume(spec).await.expect("could not consume")
    };
    let (first, second, other) = (open("a@h").await, open("a@h").await, open("b@h").await);
    assert_eq!((named("a@h").await, named("b@h").await), (2, 1));
    if let Some(again) = f.reopen().await {
        let admin = again.broker.queues().expect("queues of the same driver");
        assert_eq!(admin.consumers_named("a@h").await.expect("could not count the consumers"), 2);
    }
    first.close().await.expect("could not close");
    assert_eq!(named("a@h").await, 1);
    f.kill(second).await;
    soon("the dead consumer counts no more", async {
        while named("a@h").await > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(named("b@h").await, 1);
    other.close().await.expect("could not close");
}
