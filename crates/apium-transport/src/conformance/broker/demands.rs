//! What a worker wants: a driver may claim it beside something else, and hands out the same messages in the same order.

use std::sync::{Arc, Mutex};

use crate::broker::consumer::Consumer;
use crate::broker::demand::{Demand, Wanted};
use crate::broker::settlement::{Acknowledgement, Disposition, Settlement};
use crate::conformance::fixture::Fixture;
use crate::conformance::kit::{ack, depth, names, numbered, receipts, reject, send, take, to};

/// A demand that a case sets.
#[derive(Default)]
struct SetDemand(Mutex<Wanted>);

impl SetDemand {
    fn set(&self, wanted: Wanted) {
        *self.0.lock().expect("a case panicked") = wanted;
    }
}

impl Demand for SetDemand {
    fn wanted(&self) -> Wanted {
        *self.0.lock().expect("a case panicked")
    }
}

fn demanding(consumer: &mut Box<dyn Consumer>, wanted: Wanted) -> Arc<SetDemand> {
    let demand = Arc::new(SetDemand::default());
    demand.set(wanted);
    consumer.set_demand(demand.clone());
    demand
}

/// Whoever asks while deliveries are settled gets each message once, in the order of the queue.
pub async fn each_message_comes_once_and_in_order(f: Fixture) {
    send(&f.broker, "q", &numbered("m", 20)).await;
    let mut consumer = f.limited("q", 4).await;
    demanding(&mut consumer, Wanted::beginning(3));
    let mut came = Vec::new();
    while came.len() < 20 {
        let batch = take(&mut consumer, 1).await;
        came.extend(names(&batch));
        ack(&*consumer, &batch).await;
    }
    assert_eq!(came, numbered("m", 20));
    assert_eq!(depth(&f, "q").await, 0);
}

/// What nobody wants is left for others.
pub async fn what_is_not_wanted_is_left_for_others(f: Fixture) {
    send(&f.broker, "q", &numbered("m", 4)).await;
    let mut consumer = f.consumer(&["q"]).await;
    let demand = demanding(&mut consumer, Wanted::default());
    let got = take(&mut consumer, 1).await;
    ack(&*consumer, &got).await;
    demand.set(Wanted::beginning(9));
    let got = take(&mut consumer, 1).await;
    consumer.pause().await.expect("could not pause");
    ack(&*consumer, &got).await;
    let mut other = f.consumer(&["q"]).await;
    let others = take(&mut other, 2).await;
    assert_eq!(names(&others), ["m2", "m3"]);
    ack(&*other, &others).await;
}

/// The next step of a chain comes after it was published with the settlement of the one before.
pub async fn a_chain_goes_on(f: Fixture) {
    let mut consumer = f.consumer(&["q"]).await;
    demanding(&mut consumer, Wanted::beginning(1));
    send(&f.broker, "q", &["step0"]).await;
    for number in 1..6 {
        let step = take(&mut consumer, 1).await;
        assert_eq!(names(&step), [format!("step{}", number - 1)]);
        let delivery = Some((step[0].receipt.clone(), Acknowledgement::Ack));
        let next = vec![to("q", &format!("step{number}"))];
        let settlement = Settlement::default().publishing(next).ending(delivery);
        let acker = consumer.acker();
        acker.atomic().expect("it settles in one step").settle(vec![settlement]).await.expect("could not settle");
    }
    let last = take(&mut consumer, 1).await;
    ack(&*consumer, &last).await;
}

/// A delivery that came with a start mark counts a crash, and one whose mark was taken back counts none.
pub async fn a_start_mark_counts_unless_it_is_removed(f: Fixture) {
    send(&f.broker, "q", &numbered("m", 3)).await;
    let mut consumer = f.consumer(&["q"]).await;
    demanding(&mut consumer, Wanted::beginning(1));
    let got = take(&mut consumer, 3).await;
    assert!(!got[1].started && !got[2].started, "no more than begin at once");
    let began = u32::from(got[0].started);
    consumer.acker().unmark_started(&receipts(&got)[1..]);
    f.kill(consumer);
    let mut consumer = f.consumer(&["q"]).await;
    let again = take(&mut consumer, 3).await;
    assert_eq!(again.iter().map(|delivery| delivery.crashes).collect::<Vec<_>>(), [began, 0, 0]);
    assert!(again.iter().all(|delivery| !delivery.started));
    reject(&*consumer, &again, &Disposition::Discard).await;
}
