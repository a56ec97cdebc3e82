//! Consuming: waiting, limits, several queues, several consumers, closing.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::future::poll_fn;

use futures_util::FutureExt;

use crate::broker::broker::SharedBroker;
use crate::broker::consumer::{Consumer, Delivery};
use crate::conformance::fixture::Fixture;
use crate::conformance::kit::{
    ack, assert_counts, depth, join, names, next, nothing_else, numbered, poll_times, send, soon, stats, take, until,
    with_priority,
};

/// A consumer that waits gets a message as soon as one is published.
pub async fn next_waits_for_a_message(f: Fixture) {
    let mut consumer = f.consumer(&["q"]).await;
    for name in ["one", "two", "three"] {
        let broker = f.broker.clone();
        let (got, ()) = join(next(&mut consumer, 10), async move { send(&broker, "q", &[name]).await }).await;
        assert_eq!(names(&got), [name]);
        ack(&*consumer, &got).await;
    }
}

/// No more than `max` come at once, and the others come later.
pub async fn max_is_honoured(f: Fixture) {
    send(&f.broker, "q", &numbered("m", 10)).await;
    let mut consumer = f.consumer(&["q"]).await;
    let mut got = Vec::new();
    for max in [1, 3, 2, 4] {
        let mut left = max;
        while left > 0 {
            let batch = next(&mut consumer, left).await;
            left -= batch.len();
            got.extend(names(&batch));
        }
    }
    assert_eq!(got, numbered("m", 10));
}

/// A consumer never has more deliveries in flight than its prefetch; settling makes room.
pub async fn prefetch_is_honoured(f: Fixture) {
    send(&f.broker, "q", &numbered("m", 6)).await;
    let mut limited = f.limited("q", 2).await;
    let in_flight = take(&mut limited, 2).await;
    assert_eq!(names(&in_flight), ["m0", "m1"]);
    {
        // While the full consumer waits, another one takes all others.
        let mut waiting = limited.next(10);
        assert!((&mut waiting).now_or_never().is_none(), "a full consumer got more");
        let mut other = f.consumer(&["q"]).await;
        let others = take(&mut other, 4).await;
        assert_eq!(names(&others), ["m2", "m3", "m4", "m5"]);
        assert!((&mut waiting).now_or_never().is_none(), "a full consumer got more");
        other.close().await.expect("could not close");
    }
    ack(&*limited, &in_flight[..1]).await;
    let more = next(&mut limited, 10).await;
    assert_eq!(names(&more), ["m2"]);
}

/// A full consumer that waits is woken by its own settlement.
pub async fn settling_wakes_a_full_consumer(f: Fixture) {
    send(&f.broker, "q", &["first", "second"]).await;
    let mut consumer = f.limited("q", 1).await;
    let first = take(&mut consumer, 1).await;
    let acker = consumer.acker();
    let receipt = vec![first[0].receipt.clone()];
    let (second, acked) = join(next(&mut consumer, 1), async move {
        tokio::task::yield_now().await;
        acker.ack(receipt).await
    })
    .await;
    acked.expect("could not ack");
    assert_eq!(names(&second), ["second"]);
}

/// The prefetch can be changed, up, down, and to no limit.
pub async fn prefetch_can_be_changed(f: Fixture) {
    send(&f.broker, "q", &numbered("m", 20)).await;
    let mut consumer = f.limited("q", 1).await;
    let mut in_flight = take(&mut consumer, 1).await;
    consumer.set_prefetch(3).await.expect("could not set the prefetch");
    in_flight.extend(take(&mut consumer, 2).await);
    assert!(still_waits(&f, consumer.next(10)).await, "more than the prefetch came");
    consumer.set_prefetch(2).await.expect("could not set the prefetch");
    ack(&*consumer, &in_flight[..1]).await;
    assert!(still_waits(&f, consumer.next(10)).await, "the lower prefetch was not honoured");
    consumer.set_prefetch(0).await.expect("could not set the prefetch");
    let others = take(&mut consumer, 17).await;
    assert_eq!(names(&others), numbered("m", 20)[3..]);
}

/// Whether a call of next still waits after the broker has delivered a message of another queue.
async fn still_waits<T>(f: &Fixture, call: impl Future<Output = T>) -> bool {
    let mut other = f.consumer(&["elsewhere"]).await;
    let elsewhere = async move {
        send(&f.broker, "elsewhere", &["m"]).await;
        let got = take(&mut other, 1).await;
        ack(&*other, &got).await;
        other.close().await.expect("could not close");
    };
    tokio::select! {
        biased;
        _ = call => false,
        () = elsewhere => true,
    }
}

/// What comes while a consumer pauses is for others, of whatever priority and queue. Then it consumes again.
pub async fn what_comes_while_a_consumer_pauses_is_for_others(f: Fixture) {
    let mut pausing = f.consumer(&["q", "r"]).await;
    assert!(still_waits(&f, pausing.next(10)).await, "a delivery from nowhere");
    send(&f.broker, "q", &["first"]).await;
    let in_flight = take(&mut pausing, 1).await;
    pausing.pause().await.expect("could not pause");
    let batch = vec![with_priority("q", "nine", 9), with_priority("q", "zero", 0), with_priority("r", "five", 5)];
    f.broker.publish(batch).await.expect("could not publish");
    let mut other = f.consumer(&["q", "r"]).await;
    let got = take(&mut other, 3).await;
    let all: BTreeSet<String> = names(&got).into_iter().collect();
    assert_eq!(all, ["five", "nine", "zero"].map(str::to_owned).into());
    ack(&*other, &got).await;
    other.close().await.expect("could not close");
    ack(&*pausing, &in_flight).await;
    send(&f.broker, "q", &["last"]).await;
    assert_eq!(names(&take(&mut pausing, 1).await), ["last"]);
}

/// What a consumer has claimed for a call of next that was dropped goes back in a pause, in its order. Another consumer
/// gets it.
pub async fn what_was_claimed_for_a_dropped_next_goes_back_in_a_pause(f: Fixture) {
    let mut pausing = f.consumer(&["q"]).await;
    let mut other = f.consumer(&["q"]).await;
    for polls in 1..60 {
        send(&f.broker, "q", &numbered("m", 4)).await;
        // The call is dropped after another number of polls than the last one, so in every phase of its life.
        let got = poll_times(pausing.next(4), polls).await;
        let got = got.map_or(Vec::new(), |batch| batch.expect("could not wait for deliveries"));
        pausing.pause().await.expect("could not pause");
        assert_eq!(depth(&f, "q").await, 4 - got.len() as u64, "after {polls} polls something is held back");
        let others = take(&mut other, 4 - got.len()).await;
        let all: Vec<String> = names(&got).into_iter().chain(names(&others)).collect();
        assert_eq!(all, numbered("m", 4), "after {polls} polls");
        ack(&*pausing, &got).await;
        ack(&*other, &others).await;
        other.pause().await.expect("could not pause");
    }
}

/// A dropped call of next loses nothing, at whatever point it is dropped.
pub async fn a_dropped_next_loses_nothing(f: Fixture) {
    const COUNT: usize = 300;
    let broker = f.broker.clone();
    let publish = async move {
        for name in numbered("m", COUNT) {
            send(&broker, "q", &[name]).await;
            tokio::task::yield_now().await;
        }
    };
    let mut consumer = f.consumer(&["q"]).await;
    let consume = async {
        let (mut got, mut polls) = (Vec::new(), 0);
        while got.len() < COUNT {
            // Every call is dropped after another number of polls than the last one, so in every phase of its life.
            polls = (polls + 7) % 100;
            if let Some(batch) = poll_times(consumer.next(3), polls).await {
                let batch = batch.expect("could not wait for deliveries");
                ack(&*consumer, &batch).await;
                got.extend(names(&batch));
            }
            consumer.next(1).now_or_never().into_iter().for_each(|batch| {
                got.extend(names(&batch.expect("could not wait for deliveries")));
            });
        }
        got
    };
    let (got, ()) = soon("every message", join(consume, publish)).await;
    let distinct: BTreeSet<_> = got.iter().collect();
    assert_eq!((got.len(), distinct.len()), (COUNT, COUNT));
}

/// A dropped call of next keeps no message from others that wait.
pub async fn a_dropped_next_does_not_hold_up_others(f: Fixture) {
    let mut fickle = f.consumer(&["q"]).await;
    let mut steady = f.consumer(&["q"]).await;
    for name in numbered("m", 20) {
        let sent = Cell::new(false);
        let mut dropped = fickle.next(1);
        assert!((&mut dropped).now_or_never().is_none(), "a delivery from nowhere");
        let wake = async {
            tokio::task::yield_now().await;
            send(&f.broker, "q", &[&name]).await;
            drop(dropped);
            sent.set(true);
        };
        // A message that can be delivered wakes who waits. If it cannot be delivered any more, one of the two has it.
        let came = async {
            tokio::select! {
                biased;
                batch = steady.next(1) => Some(batch.expect("could not wait for deliveries")),
                () = until("somebody has the message", async || sent.get() && depth(&f, "q").await == 0) => None,
            }
        };
        let (came, ()) = join(came, wake).await;
        match came {
            Some(batch) => ack(&*steady, &batch).await,
            None => {
                let (consumer, batch) = soon("the next delivery", next_of(&mut fickle, &mut steady, 1)).await;
                ack(if consumer == 0 { &*fickle } else { &*steady }, &batch).await;
            }
        }
    }
    assert_counts(&f, "q", (0, 0, 0)).await;
}

/// The next batch of one of two consumers, and of which.
pub(crate) async fn next_of(
    first: &mut Box<dyn Consumer>,
    second: &mut Box<dyn Consumer>,
    max: usize,
) -> (usize, Vec<Delivery>) {
    let (consumer, batch) = tokio::select! {
        batch = first.next(max) => (0, batch),
        batch = second.next(max) => (1, batch),
    };
    (consumer, batch.expect("could not wait for deliveries"))
}

async fn drain(mut consumer: Box<dyn Consumer>, done: &tokio::sync::watch::Sender<usize>, all: usize) -> Vec<String> {
    let mut got = Vec::new();
    let mut seen = done.subscribe();
    loop {
        let batch = tokio::select! {
            batch = consumer.next(7) => batch.expect("could not wait for deliveries"),
            _ = seen.wait_for(|count| *count >= all) => break,
        };
        ack(&*consumer, &batch).await;
        got.extend(names(&batch));
        done.send_modify(|count| *count += batch.len());
    }
    consumer.close().await.expect("could not close");
    got
}

/// Many consumers at once get each message once.
pub async fn each_message_goes_to_one_of_many_consumers(f: Fixture) {
    const COUNT: usize = 600;
    let done = tokio::sync::watch::Sender::new(0);
    let publish = |broker: SharedBroker| async move {
        for part in numbered("m", COUNT).chunks(12) {
            send(&broker, "q", part).await;
            tokio::task::yield_now().await;
        }
    };
    let mut consumers = Vec::new();
    for _ in 0..5 {
        consumers.push(f.limited("q", 10).await);
    }
    let drains = futures_util::future::join_all(consumers.into_iter().map(|consumer| drain(consumer, &done, COUNT)));
    let (got, ()) = soon("every message", join(drains, publish(f.broker.clone()))).await;
    let mut got: Vec<_> = got.into_iter().flatten().collect();
    got.sort();
    let mut sent = numbered("m", COUNT);
    sent.sort();
    assert_eq!(got, sent);
    assert_counts(&f, "q", (0, 0, 0)).await;
}

/// One consumer may read several queues, and each delivery says which it came from.
pub async fn several_queues_are_read(f: Fixture) {
    for queue in ["a", "b", "c"] {
        send(&f.broker, queue, &numbered(queue, 4)).await;
    }
    let mut consumer = f.consumer(&["a", "b"]).await;
    let got = take(&mut consumer, 8).await;
    for delivery in &got {
        assert!(names(std::slice::from_ref(delivery))[0].starts_with(&*delivery.queue));
    }
    for queue in ["a", "b"] {
        let own: Vec<_> = got.iter().filter(|delivery| &*delivery.queue == queue).cloned().collect();
        assert_eq!(names(&own), numbered(queue, 4));
    }
    assert_counts(&f, "c", (4, 0, 0)).await;
}

/// A full queue does not starve another of the same consumer.
pub async fn no_queue_is_starved(f: Fixture) {
    send(&f.broker, "full", &numbered("m", 200)).await;
    send(&f.broker, "small", &["rare"]).await;
    let mut consumer = f.limited("full", 4).await;
    consumer.subscribe("small").await.expect("could not subscribe");
    let mut seen = 0;
    loop {
        let batch = next(&mut consumer, 2).await;
        ack(&*consumer, &batch).await;
        if names(&batch).iter().any(|name| name == "rare") {
            break;
        }
        seen += batch.len();
        assert!(seen < 100, "the small queue waits until the full one is empty");
    }
}

/// A queue can be added, also one that is not there yet.
pub async fn subscribe_adds_a_queue(f: Fixture) {
    let mut consumer = f.consumer(&["a"]).await;
    consumer.subscribe("b").await.expect("could not subscribe");
    consumer.subscribe("b").await.expect("could not subscribe twice");
    send(&f.broker, "b", &["m"]).await;
    assert_eq!(names(&next(&mut consumer, 10).await), ["m"]);
}

/// A consumer can leave a queue. Deliveries from it can still be settled, and its messages stay there.
pub async fn unsubscribe_leaves_a_queue(f: Fixture) {
    send(&f.broker, "b", &["in flight"]).await;
    let mut consumer = f.consumer(&["a", "b"]).await;
    let in_flight = take(&mut consumer, 1).await;
    consumer.unsubscribe("b").await.expect("could not unsubscribe");
    consumer.unsubscribe("never read").await.expect("could not unsubscribe from what is not read");
    send(&f.broker, "b", &["stays"]).await;
    nothing_else(&f.broker, "a", &mut consumer).await;
    ack(&*consumer, &in_flight).await;
    assert_counts(&f, "b", (1, 0, 0)).await;
}

/// A consumer may be without a queue for a while: it waits and claims nothing, and gets what comes as soon as it reads
/// a queue again. It is not polled again and again meanwhile.
pub async fn a_consumer_without_queues_waits(f: Fixture) {
    const MOST_POLLS: usize = 200;
    send(&f.broker, "q", &["before"]).await;
    let mut consumer = f.consumer(&[]).await;
    for name in ["before", "meanwhile"] {
        let polls = Cell::new(0);
        let (count, mut next) = (&polls, consumer.next(10));
        let waits = poll_fn(move |context| {
            count.set(count.get() + 1);
            next.as_mut().poll(context)
        });
        assert!(still_waits(&f, waits).await, "a delivery from a queue that is not read");
        assert!(polls.get() < MOST_POLLS, "it was polled {} times", polls.get());
        assert_counts(&f, "q", (1, 0, 0)).await;
        consumer.subscribe("q").await.expect("could not subscribe");
        let got = take(&mut consumer, 1).await;
        assert_eq!(names(&got), [name]);
        ack(&*consumer, &got).await;
        consumer.unsubscribe("q").await.expect("could not unsubscribe");
        send(&f.broker, "q", &["meanwhile"]).await;
    }
}

/// A queue counts the consumers that subscribed to it.
pub async fn subscriptions_are_counted(f: Fixture) {
    let mut consumer = f.consumer(&["a"]).await;
    consumer.subscribe("b").await.expect("could not subscribe");
    assert_eq!(stats(&f, "b").await.consumers, 1);
    consumer.unsubscribe("b").await.expect("could not unsubscribe");
    assert_eq!((stats(&f, "a").await.consumers, stats(&f, "b").await.consumers), (1, 0));
}

/// Closing returns what is in flight to the front of its queue, in order, and as redelivered.
pub async fn close_returns_to_the_front(f: Fixture) {
    send(&f.broker, "q", &numbered("m", 5)).await;
    let mut consumer = f.consumer(&["q"]).await;
    let in_flight = take(&mut consumer, 3).await;
    ack(&*consumer, &in_flight[1..2]).await;
    consumer.close().await.expect("could not close");
    assert_counts(&f, "q", (4, 0, 0)).await;
    let mut other = f.consumer(&["q"]).await;
    let got = take(&mut other, 4).await;
    assert_eq!(names(&got), ["m0", "m2", "m3", "m4"]);
    let redelivered: Vec<_> = got.iter().map(|delivery| delivery.redelivered).collect();
    let ahead = f.broker.capabilities().fetches_ahead;
    assert_eq!(redelivered, [true, true, ahead, ahead]);
}

/// What closing returns keeps its priority.
pub async fn close_returns_by_priority(f: Fixture) {
    f.broker.publish(vec![with_priority("q", "five", 5)]).await.expect("could not publish");
    let mut consumer = f.consumer(&["q"]).await;
    take(&mut consumer, 1).await;
    let (same, other) = (with_priority("q", "later five", 5), with_priority("q", "nine", 9));
    f.broker.publish(vec![same, other]).await.expect("could not publish");
    consumer.close().await.expect("could not close");
    let mut consumer = f.consumer(&["q"]).await;
    let got = names(&take(&mut consumer, 3).await);
    let position = |name: &str| got.iter().position(|other| other == name);
    assert!(position("five") < position("later five"), "{got:?}");
}

/// What a closing consumer returns wakes one that waits.
pub async fn close_wakes_another(f: Fixture) {
    send(&f.broker, "q", &["m"]).await;
    let mut first = f.consumer(&["q"]).await;
    take(&mut first, 1).await;
    let mut second = f.consumer(&["q"]).await;
    let (got, closed) = join(next(&mut second, 1), async {
        tokio::task::yield_now().await;
        first.close().await
    })
    .await;
    closed.expect("could not close");
    assert_eq!(names(&got), ["m"]);
}

/// What a consumer had in flight when it died is delivered again, to one that waits already.
pub async fn what_a_dead_consumer_had_comes_again(f: Fixture) {
    send(&f.broker, "q", &numbered("m", 3)).await;
    let mut first = f.consumer(&["q"]).await;
    let lost = take(&mut first, 3).await;
    let mut second = f.consumer(&["q"]).await;
    let (got, ()) = join(take(&mut second, 3), async { f.kill(first) }).await;
    assert_eq!(names(&got), names(&lost));
    for (old, new) in lost.iter().zip(&got) {
        assert!(new.redelivered && new.receipt.fence > old.receipt.fence, "{old:?} then {new:?}");
    }
}
