//! Several handles on one store, as several processes have them.

use apium_protocol::result::state::State;
use futures_util::StreamExt;

use crate::conformance::broker::consuming::next_of;
use crate::conformance::fixture::Fixture;
use crate::conformance::kit::{
    ack, assert_counts, join, names, next, numbered, record, send, soon, state_of, take, to,
};

/// What one handle publishes, another consumes.
pub async fn handles_share_queues(f: Fixture) {
    let other = f.reopen().await;
    send(&other.broker, "q", &numbered("m", 5)).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 5).await;
    assert_eq!(names(&got), numbered("m", 5));
    ack(&*consumer, &got[..4]).await;
    drop(consumer);
    other.broker.close().await.expect("could not close");
}

/// A consumer that waits is woken by a message of another handle.
pub async fn handles_wake_each_other(f: Fixture) {
    let other = f.reopen().await;
    let mut consumer = f.consumer(&["q"]).await;
    for name in ["one", "two"] {
        let (got, ()) = join(next(&mut consumer, 1), async {
            tokio::task::yield_now().await;
            send(&other.broker, "q", &[name]).await;
        })
        .await;
        assert_eq!(names(&got), [name]);
    }
}

/// A consumer that waits notices an eta that another handle publishes.
pub async fn handles_see_each_others_etas(f: Fixture) {
    let other = f.reopen().await;
    let mut consumer = f.consumer(&["q"]).await;
    let (got, ()) = join(next(&mut consumer, 1), async {
        let eta = Some(f.after(f.tick()));
        other.broker.publish(vec![to("q", "m").at(eta)]).await.expect("could not publish");
        f.advance(f.tick());
    })
    .await;
    assert_eq!(names(&got), ["m"]);
}

/// Consumers of several handles get each message once.
pub async fn handles_get_each_message_once(f: Fixture) {
    let other = f.reopen().await;
    let mut first = f.limited("q", 5).await;
    let mut second = other.broker.consume(f.spec(&["q"])).await.expect("could not consume");
    send(&f.broker, "q", &numbered("m", 40)).await;
    let mut got = Vec::new();
    while got.len() < 40 {
        let (consumer, batch) = soon("a delivery", next_of(&mut first, &mut second, 3)).await;
        ack(if consumer == 0 { &*first } else { &*second }, &batch).await;
        got.extend(names(&batch));
    }
    got.sort();
    got.dedup();
    assert_eq!(got.len(), 40);
    assert_counts(&f, "q", (0, 0, 0)).await;
}

/// Results that one handle stores, another reads and watches.
pub async fn handles_share_results(f: Fixture) {
    let other = f.reopen().await;
    other.backend.store(vec![record("early", State::Success, None)]).await.expect("could not store");
    assert_eq!(state_of(&f, "early").await, Some(State::Success));
    let stream = f.backend.watch(vec!["early".into(), "late".into()]).await.expect("could not watch");
    let (seen, ()) = join(soon("both results", stream.collect::<Vec<_>>()), async {
        tokio::task::yield_now().await;
        let stored = other.backend.store(vec![record("late", State::Failure, None)]).await;
        stored.expect("could not store");
    })
    .await;
    let seen: Vec<_> = seen.into_iter().map(|document| document.expect("could not watch").state).collect();
    assert_eq!(seen, [State::Success, State::Failure]);
}

/// Closing one handle leaves the others alone.
pub async fn closing_one_handle_leaves_the_others(f: Fixture) {
    let other = f.reopen().await;
    let mut consumer = f.consumer(&["q"]).await;
    other.broker.close().await.expect("could not close");
    other.backend.close().await.expect("could not close");
    send(&f.broker, "q", &["m"]).await;
    assert_eq!(names(&next(&mut consumer, 1).await), ["m"]);
    assert_eq!(state_of(&f, "t").await, None);
}

/// Consumers are counted by their node name through every handle.
pub async fn handles_count_each_others_consumers(f: Fixture) {
    let other = f.reopen().await;
    let consumer = f.consumer(&["q"]).await;
    let counts = other.broker.queues().and_then(|queues| queues.consumers()).expect("consumers are counted");
    let node = f.spec(&["q"]).node;
    assert_eq!(counts.consumers_named(&node).await.expect("could not count the consumers"), 1);
    consumer.close().await.expect("could not close");
}
