//! Settlement in one atomic step, where broker and result backend are one store.

use apium_protocol::result::state::State;
use futures_util::StreamExt;

use crate::address::Address;
use crate::broker::consumer::Consumer;
use crate::broker::settlement::{Acknowledgement, Disposition, Receipt, Settlement};
use crate::conformance::fixture::Fixture;
use crate::conformance::kit::{
    assert_counts, assert_lost, join, names, numbered, reason, receipts, record, run, send, state_of, take, through, to,
};
use crate::error::{ErrorKind, Result};

/// Settles a batch in one atomic step.
pub(crate) async fn settle(f: &Fixture, consumer: &dyn Consumer, batch: Vec<Settlement>) -> Result<()> {
    let acker = consumer.acker();
    let atomic = acker.atomic().filter(|atomic| atomic.shares_store_with(f.backend.address()));
    atomic.expect("broker and backend are one store").settle(batch).await
}

fn end_of(n: usize, delivery: Option<(Receipt, Acknowledgement)>) -> Settlement {
    Settlement {
        record: Some(Box::new(record(&format!("t{n}"), State::Success, run(0, 1)))),
        publish: vec![to("next", &format!("f{n}")), to("next", &format!("g{n}"))],
        delivery,
        follow_ups: None,
    }
}

/// Result, follow-ups and acknowledgement are done together.
pub async fn everything_is_done_together(f: Fixture) {
    send(&f.broker, "q", &numbered("m", 3)).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = receipts(&take(&mut consumer, 3).await);
    let batch = vec![
        end_of(0, Some((got[0].clone(), Acknowledgement::Ack))),
        end_of(1, Some((got[1].clone(), Acknowledgement::Reject(reason("why"))))),
        end_of(2, Some((got[2].clone(), Acknowledgement::Reject(Disposition::Requeue)))),
        end_of(3, None),
        Settlement::default(),
    ];
    settle(&f, &*consumer, batch).await.expect("could not settle");
    for n in 0..4 {
        assert_eq!(state_of(&f, &format!("t{n}")).await, Some(State::Success));
    }
    assert_counts(&f, "q", (1, 0, 0)).await;
    let mut follow = f.consumer(&["next"]).await;
    let got = take(&mut follow, 8).await;
    assert_eq!(names(&got), ["f0", "g0", "f1", "g1", "f2", "g2", "f3", "g3"]);
    assert_eq!(f.dead().count().await.expect("could not count"), 1);
}

/// A lost receipt drops its own record and messages and is named; the others are settled.
pub async fn a_lost_receipt_drops_its_own_settlement(f: Fixture) {
    send(&f.broker, "q", &numbered("m", 3)).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = receipts(&take(&mut consumer, 3).await);
    consumer.acker().ack(vec![got[1].clone()]).await.expect("could not ack");
    let batch = (0..3).map(|n| end_of(n, Some((got[n].clone(), Acknowledgement::Ack)))).collect();
    assert_lost(settle(&f, &*consumer, batch).await, &got[1..2]);
    assert_eq!(state_of(&f, "t0").await, Some(State::Success));
    assert_eq!(state_of(&f, "t1").await, None);
    assert_eq!(state_of(&f, "t2").await, Some(State::Success));
    assert_counts(&f, "q", (0, 0, 0)).await;
    let mut follow = f.consumer(&["next"]).await;
    assert_eq!(names(&take(&mut follow, 4).await), ["f0", "g0", "f2", "g2"]);
    assert_counts(&f, "next", (0, 4, 0)).await;
}

/// A record that the overwrite rule refuses is left out; everything else of its settlement is done.
pub async fn a_refused_record_is_left_out(f: Fixture) {
    let first = vec![record("t0", State::Success, run(5, 5))];
    f.backend.store(first.clone()).await.expect("could not store");
    send(&f.broker, "q", &["m"]).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = receipts(&take(&mut consumer, 1).await);
    let mut refused = end_of(0, Some((got[0].clone(), Acknowledgement::Ack)));
    refused.record = Some(Box::new(record("t0", State::Failure, run(9, 9))));
    settle(&f, &*consumer, vec![refused]).await.expect("could not settle");
    assert_eq!(state_of(&f, "t0").await, Some(State::Success));
    assert_counts(&f, "q", (0, 0, 0)).await;
    assert_counts(&f, "next", (2, 0, 0)).await;
}

/// If one message cannot be published, nothing is done.
pub async fn a_message_that_goes_nowhere_stops_everything(f: Fixture) {
    send(&f.broker, "q", &numbered("m", 2)).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = receipts(&take(&mut consumer, 2).await);
    let mut bad = end_of(1, Some((got[1].clone(), Acknowledgement::Ack)));
    bad.publish.push(through("missing", "key", "bad"));
    let batch = vec![end_of(0, Some((got[0].clone(), Acknowledgement::Ack))), bad];
    let error = settle(&f, &*consumer, batch).await.expect_err("a message went nowhere");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!((state_of(&f, "t0").await, state_of(&f, "t1").await), (None, None));
    assert_counts(&f, "q", (0, 2, 0)).await;
    assert_counts(&f, "next", (0, 0, 0)).await;
    consumer.acker().ack(got).await.expect("the receipts were lost");
}

/// A settlement delays a follow-up with an eta, shows the result to a watcher and wakes a consumer that waits.
pub async fn a_settlement_wakes_who_waits(f: Fixture) {
    send(&f.broker, "q", &["m"]).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = receipts(&take(&mut consumer, 1).await);
    let mut follow = f.consumer(&["next"]).await;
    let watch = f.backend.watch(vec!["t0".into()]).await.expect("could not watch");
    let mut batch = vec![end_of(0, Some((got[0].clone(), Acknowledgement::Ack)))];
    batch[0].publish.push(to("next", "later").at(Some(f.after(f.tick() * 1000))));
    let work = settle(&f, &*consumer, batch);
    let ((woken, seen), settled) = join(join(take(&mut follow, 2), watch.collect::<Vec<_>>()), work).await;
    settled.expect("could not settle");
    assert_eq!(names(&woken), ["f0", "g0"]);
    assert_eq!(seen.len(), 1);
    assert_counts(&f, "next", (0, 2, 1)).await;
}

/// Another store is not taken for the same.
pub async fn another_store_is_another(f: Fixture) {
    let consumer = f.consumer(&["q"]).await;
    let acker = consumer.acker();
    let atomic = acker.atomic().expect("settlement is atomic");
    for other in ["memory://another-one", "sqlite:///another/one.db", "redis://localhost/0"] {
        let other = Address::parse(other).expect("an address");
        assert!(!atomic.shares_store_with(&other), "{other}");
    }
}
