//! Settling: each disposition, lost receipts, and fences.

use crate::broker::settlement::Disposition;
use crate::conformance::fixture::Fixture;
use crate::conformance::kit::{
    ack, assert_counts, assert_lost, join, names, next, nothing_else, numbered, reason, receipts, reject, send, take,
};

/// What was acked is gone, also when its consumer dies.
pub async fn an_ack_is_final(f: Fixture) {
    send(&f.broker, "q", &numbered("m", 4)).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 4).await;
    assert_counts(&f, "q", (0, 4, 0)).await;
    ack(&*consumer, &got[..3]).await;
    assert_counts(&f, "q", (0, 1, 0)).await;
    f.kill(consumer);
    let mut other = f.consumer(&["q"]).await;
    assert_eq!(names(&take(&mut other, 1).await), ["m3"], "the one that was in flight comes again");
    nothing_else(&f.broker, "q", &mut other).await;
}

/// A requeued delivery comes again, marked and with a larger fence.
pub async fn requeue_brings_it_again(f: Fixture) {
    send(&f.broker, "q", &["m"]).await;
    let mut consumer = f.consumer(&["q"]).await;
    let mut last = take(&mut consumer, 1).await;
    for _ in 0..3 {
        reject(&*consumer, &last, &Disposition::Requeue).await;
        let again = take(&mut consumer, 1).await;
        assert_eq!(names(&again), ["m"]);
        assert!(again[0].redelivered);
        assert_eq!(again[0].receipt.tag, last[0].receipt.tag, "a message keeps its tag");
        assert!(again[0].receipt.fence > last[0].receipt.fence);
        last = again;
    }
    ack(&*consumer, &last).await;
    assert_counts(&f, "q", (0, 0, 0)).await;
}

/// A requeued delivery wakes another consumer that waits.
pub async fn requeue_wakes_another(f: Fixture) {
    send(&f.broker, "q", &["m"]).await;
    let mut first = f.consumer(&["q"]).await;
    let got = take(&mut first, 1).await;
    first.pause().await.expect("could not pause");
    let mut second = f.consumer(&["q"]).await;
    let requeue = async {
        tokio::task::yield_now().await;
        reject(&*first, &got, &Disposition::Requeue).await;
    };
    let (again, ()) = join(next(&mut second, 1), requeue).await;
    assert_eq!(names(&again), ["m"]);
}

/// A discarded delivery is gone.
pub async fn discard_drops_it(f: Fixture) {
    send(&f.broker, "q", &["m"]).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 1).await;
    reject(&*consumer, &got, &Disposition::Discard).await;
    nothing_else(&f.broker, "q", &mut consumer).await;
}

/// A discarded delivery is not in the dead set.
pub async fn discard_is_no_dead_letter(f: Fixture) {
    send(&f.broker, "q", &["m"]).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 1).await;
    reject(&*consumer, &got, &Disposition::Discard).await;
    assert_eq!(f.dead().count().await.expect("could not count"), 0);
}

/// A delayed delivery comes again when it is due, and not as redelivered.
pub async fn delay_brings_it_later(f: Fixture) {
    send(&f.broker, "q", &["m"]).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 1).await;
    let due = f.after(f.tick());
    reject(&*consumer, &got, &Disposition::Delay(due)).await;
    f.advance(f.tick());
    let again = take(&mut consumer, 1).await;
    assert!(f.clock.now() >= due, "delivered before {due}");
    assert_eq!(names(&again), ["m"]);
    assert!(!again[0].redelivered);
    assert!(again[0].receipt.fence > got[0].receipt.fence);
}

/// A delayed delivery is not delivered before it is due.
pub async fn a_delayed_delivery_waits(f: Fixture) {
    send(&f.broker, "q", &["m"]).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 1).await;
    reject(&*consumer, &got, &Disposition::Delay(f.after(f.tick() * 1000))).await;
    assert_counts(&f, "q", (0, 0, 1)).await;
    nothing_else(&f.broker, "q", &mut consumer).await;
}

/// A delivery that is delayed until a time that has passed comes at once.
pub async fn delay_until_a_past_time_brings_it_at_once(f: Fixture) {
    send(&f.broker, "q", &["m"]).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 1).await;
    reject(&*consumer, &got, &Disposition::Delay(Fixture::start())).await;
    assert_eq!(names(&take(&mut consumer, 1).await), ["m"]);
}

/// One batch may contain different dispositions.
pub async fn one_batch_may_mix_dispositions(f: Fixture) {
    send(&f.broker, "q", &numbered("m", 4)).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = receipts(&take(&mut consumer, 4).await);
    let how = [Disposition::Requeue, Disposition::Discard, reason("why"), Disposition::Delay(f.after(f.tick() * 1000))];
    let batch = got.into_iter().zip(how).collect();
    // A consumer that is sent messages ahead would have the requeued one again.
    consumer.pause().await.expect("could not pause");
    consumer.acker().reject(batch).await.expect("could not reject");
    assert_counts(&f, "q", (1, 0, 1)).await;
    assert_eq!(names(&take(&mut consumer, 1).await), ["m0"]);
    assert_eq!(f.dead().count().await.expect("could not count"), 1);
}

/// Settling twice is an error that names the receipt; the others of the batch are settled all the same.
pub async fn settling_twice_is_an_error(f: Fixture) {
    send(&f.broker, "q", &numbered("m", 4)).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = receipts(&take(&mut consumer, 4).await);
    let acker = consumer.acker();
    acker.ack(vec![got[0].clone()]).await.expect("could not ack");
    assert_lost(acker.ack(got[..2].to_vec()).await, &got[..1]);
    assert_counts(&f, "q", (0, 2, 0)).await;
    let batch = got[..3].iter().map(|receipt| (receipt.clone(), Disposition::Discard)).collect();
    assert_lost(acker.reject(batch).await, &got[..2]);
    assert_counts(&f, "q", (0, 1, 0)).await;
    assert_lost(acker.ack(vec![got[3].clone(), got[3].clone()]).await, &got[3..]);
    assert_counts(&f, "q", (0, 0, 0)).await;
}

/// A receipt of an earlier delivery settles nothing.
pub async fn an_old_fence_settles_nothing(f: Fixture) {
    send(&f.broker, "q", &["m"]).await;
    let mut consumer = f.consumer(&["q"]).await;
    let old = take(&mut consumer, 1).await;
    reject(&*consumer, &old, &Disposition::Requeue).await;
    let new = take(&mut consumer, 1).await;
    let acker = consumer.acker();
    assert_lost(acker.ack(receipts(&old)).await, &receipts(&old));
    let stale = vec![(old[0].receipt.clone(), Disposition::Discard)];
    assert_lost(acker.reject(stale).await, &receipts(&old));
    assert_counts(&f, "q", (0, 1, 0)).await;
    ack(&*consumer, &new).await;
}

/// What a closing consumer returned is not in flight any more, even while nobody else has it.
pub async fn a_closed_consumer_settles_nothing(f: Fixture) {
    send(&f.broker, "q", &["m"]).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 1).await;
    let acker = consumer.acker();
    consumer.close().await.expect("could not close");
    assert_lost(acker.ack(receipts(&got)).await, &receipts(&got));
    assert_counts(&f, "q", (1, 0, 0)).await;
}

/// After a consumer has died another one settles, and the late ack of the dead one is refused.
pub async fn the_late_ack_of_a_dead_consumer_is_refused(f: Fixture) {
    send(&f.broker, "q", &["m"]).await;
    let mut first = f.consumer(&["q"]).await;
    let old = take(&mut first, 1).await;
    let acker = first.acker();
    f.kill(first);
    let mut second = f.consumer(&["q"]).await;
    let new = take(&mut second, 1).await;
    assert_lost(acker.ack(receipts(&old)).await, &receipts(&old));
    assert_counts(&f, "q", (0, 1, 0)).await;
    ack(&*second, &new).await;
}
