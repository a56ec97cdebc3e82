//! Settlement in one atomic step, where broker and result backend are one store.

use apium_protocol::result::state::State;

use crate::address::Address;
use crate::broker::consumer::Consumer;
use crate::broker::settlement::{Acknowledgement, Disposition, Receipt, Settlement};
use crate::conformance::fixture::Fixture;
use crate::conformance::kit::{
    assert_counts, assert_lost, join, mark, names, numbered, reason, receipts, record, send, state_of, take, through,
    to,
};
use crate::error::{ErrorKind, Result};

/// Runs `settle` where the driver has it for this backend; says whether it has.
pub(crate) async fn settle(f: &Fixture, consumer: &dyn Consumer, batch: Vec<Settlement>) -> Option<Result<()>> {
    let acker = consumer.acker();
    match acker.atomic().filter(|atomic| atomic.shares_store_with(f.backend.address())) {
        Some(atomic) => Some(atomic.settle(batch).await),
        None => None,
    }
}

fn part(n: usize, delivery: Option<(Receipt, Acknowledgement)>) -> Settlement {
    Settlement {
        record: Some(record(&format!("t{n}"), State::Success, mark(0, 1))),
        publish: vec![to("next", &format!("f{n}")), to("next", &format!("g{n}"))],
        delivery,
        follow_ups: None,
    }
}

/// Result, follow-ups and settlement are there together.
pub async fn everything_is_done_together(f: Fixture) {
    send(&f.broker, "q", &numbered("m", 3)).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = receipts(&take(&mut consumer, 3).await);
    let batch = vec![
        part(0, Some((got[0].clone(), Acknowledgement::Ack))),
        part(1, Some((got[1].clone(), Acknowledgement::Reject(reason("why"))))),
        part(2, Some((got[2].clone(), Acknowledgement::Reject(Disposition::Requeue)))),
        part(3, None),
        Settlement::default(),
    ];
    let Some(settled) = settle(&f, &*consumer, batch).await else { return };
    settled.expect("could not settle");
    for n in 0..4 {
        assert_eq!(state_of(&f, &format!("t{n}")).await, Some(State::Success));
    }
    assert_counts(&f, "q", (1, 0, 0)).await;
    let mut follow = f.consumer(&["next"]).await;
    let got = take(&mut follow, 8).await;
    assert_eq!(names(&got), ["f0", "g0", "f1", "g1", "f2", "g2", "f3", "g3"]);
    if let Some(dead) = f.broker.dead() {
        assert_eq!(dead.count().await.expect("could not count"), 1);
    }
}

/// A lost receipt drops its own record and messages, is named, and the others are settled.
pub async fn a_lost_receipt_drops_its_own_parts(f: Fixture) {
    send(&f.broker, "q", &numbered("m", 3)).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = receipts(&take(&mut consumer, 3).await);
    consumer.acker().ack(vec![got[1].clone()]).await.expect("could not ack");
    let batch = (0..3).map(|n| part(n, Some((got[n].clone(), Acknowledgement::Ack)))).collect();
    let Some(settled) = settle(&f, &*consumer, batch).await else { return };
    assert_lost(settled, &got[1..2]);
    assert_eq!(state_of(&f, "t0").await, Some(State::Success));
    assert_eq!(state_of(&f, "t1").await, None);
    assert_eq!(state_of(&f, "t2").await, Some(State::Success));
    assert_counts(&f, "q", (0, 0, 0)).await;
    let mut follow = f.consumer(&["next"]).await;
    assert_eq!(names(&take(&mut follow, 4).await), ["f0", "g0", "f2", "g2"]);
    assert_counts(&f, "next", (0, 4, 0)).await;
}

/// A record that the overwrite rule refuses is left out; the rest of its settlement is done.
pub async fn a_refused_record_is_left_out(f: Fixture) {
    let first = vec![record("t0", State::Success, mark(5, 5))];
    f.backend.store(first.clone()).await.expect("could not store");
    send(&f.broker, "q", &["m"]).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = receipts(&take(&mut consumer, 1).await);
    let mut refused = part(0, Some((got[0].clone(), Acknowledgement::Ack)));
    refused.record = Some(record("t0", State::Failure, mark(9, 9)));
    let Some(settled) = settle(&f, &*consumer, vec![refused]).await else { return };
    settled.expect("could not settle");
    assert_eq!(state_of(&f, "t0").await, Some(State::Success));
    assert_counts(&f, "q", (0, 0, 0)).await;
    assert_counts(&f, "next", (2, 0, 0)).await;
}

/// Where one message cannot be published, nothing at all is done.
pub async fn a_message_that_goes_nowhere_stops_everything(f: Fixture) {
    send(&f.broker, "q", &numbered("m", 2)).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = receipts(&take(&mut consumer, 2).await);
    let mut bad = part(1, Some((got[1].clone(), Acknowledgement::Ack)));
    bad.publish.push(through("missing", "key", "bad"));
    let batch = vec![part(0, Some((got[0].clone(), Acknowledgement::Ack))), bad];
    let Some(settled) = settle(&f, &*consumer, batch).await else { return };
    let error = settled.expect_err("a message went nowhere");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!((state_of(&f, "t0").await, state_of(&f, "t1").await), (None, None));
    assert_counts(&f, "q", (0, 2, 0)).await;
    assert_counts(&f, "next", (0, 0, 0)).await;
    consumer.acker().ack(got).await.expect("the receipts were lost");
}

/// A follow-up with an eta is parked, a watcher sees the result, and a waiting consumer is woken.
pub async fn a_settlement_wakes_who_waits(f: Fixture) {
    use futures_util::StreamExt;

    send(&f.broker, "q", &["m"]).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = receipts(&take(&mut consumer, 1).await);
    if consumer.acker().atomic().is_none() {
        return;
    }
    let mut follow = f.consumer(&["next"]).await;
    let watch = f.backend.watch(vec!["t0".into()]).await.expect("could not watch");
    let mut batch = vec![part(0, Some((got[0].clone(), Acknowledgement::Ack)))];
    batch[0].publish.push(to("next", "later").at(Some(f.after(f.tick()))));
    let work = settle(&f, &*consumer, batch);
    let ((woken, seen), settled) = join(join(take(&mut follow, 2), watch.collect::<Vec<_>>()), work).await;
    settled.expect("the backend is another store").expect("could not settle");
    assert_eq!(names(&woken), ["f0", "g0"]);
    assert_eq!(seen.len(), 1);
    assert_counts(&f, "next", (0, 2, 1)).await;
}

/// Another store is not taken for the same.
pub async fn another_store_is_another(f: Fixture) {
    let consumer = f.consumer(&["q"]).await;
    let acker = consumer.acker();
    let Some(atomic) = acker.atomic() else { return };
    for other in ["memory://another-one", "sqlite:///another/one.db", "redis://localhost/0"] {
        let other = Address::parse(other).expect("an address");
        assert!(!atomic.shares_store_with(&other), "{other}");
    }
}
