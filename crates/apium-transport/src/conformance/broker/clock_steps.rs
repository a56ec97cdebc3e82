//! Somebody sets the clock of the machine, forward or back: who lives keeps what it has in flight, and what waits for a
//! span of time waits for that span.

use jiff::{SignedDuration, Timestamp};

use crate::broker::consumer::Consumer;
use crate::broker::settlement::Disposition;
use crate::conformance::fixture::{Fixture, Handles};
use crate::conformance::kit::{ack, names, next, nothing_else, numbered, reject, send, take, until};

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Sets the time of day, one day forward and then one day before the present.
fn steps(f: &Fixture) -> [Timestamp; 2] {
    let now = f.clock.now();
    [DAY, -DAY].map(|step| now.checked_add(step).expect("a day from now"))
}

/// Waits for more than a lease, where the clock is the machine's. A manual clock stands still: nobody is silent.
async fn a_lease_passes(f: &Fixture) {
    let over = f.clock.moment().saturating_add(f.lease * 2);
    until("a lease has passed", async || f.clock.is_manual() || f.clock.moment() >= over).await;
}

/// Another consumer of the queue, as another process where the store can be opened twice.
async fn another(f: &Fixture) -> (Option<Handles>, Box<dyn Consumer>) {
    if !f.can_reopen() {
        return (None, f.consumer(&["q"]).await);
    }
    let handles = f.reopen().await;
    let consumer = handles.broker.consume(f.spec(&["q"])).await.expect("could not consume");
    (Some(handles), consumer)
}

/// What a consumer has in flight stays its own.
pub async fn a_step_redelivers_nothing(f: Fixture) {
    send(&f.broker, "q", &numbered("m", 3)).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 3).await;
    // What is sent now is for the other one.
    consumer.pause().await.expect("could not pause");
    let (_handles, mut other) = another(&f).await;
    for to in steps(&f) {
        f.clock.set(to);
        a_lease_passes(&f).await;
        nothing_else(&f.broker, "q", &mut other).await;
    }
    ack(&*consumer, &got).await;
}

/// A message that is published after a step is delivered, and can be requeued.
pub async fn a_step_holds_up_nothing(f: Fixture) {
    let mut consumer = f.consumer(&["q"]).await;
    for (to, name) in steps(&f).into_iter().zip(["forward", "back"]) {
        f.clock.set(to);
        send(&f.broker, "q", &[name]).await;
        let got = next(&mut consumer, 1).await;
        assert_eq!(names(&got), [name]);
        reject(&*consumer, &got, &Disposition::Requeue).await;
        let got = next(&mut consumer, 1).await;
        assert_eq!(names(&got), [name]);
        ack(&*consumer, &got).await;
    }
}

/// After a step, what a dead consumer had in flight still comes again.
pub async fn a_step_keeps_nobody_alive(f: Fixture) {
    for to in steps(&f) {
        send(&f.broker, "q", &["m"]).await;
        let mut dying = f.consumer(&["q"]).await;
        assert_eq!(names(&take(&mut dying, 1).await), ["m"]);
        f.clock.set(to);
        f.kill(dying);
        let mut consumer = f.consumer(&["q"]).await;
        let got = next(&mut consumer, 1).await;
        assert_eq!(names(&got), ["m"]);
        ack(&*consumer, &got).await;
    }
}
