//! What a settlement does to the workflow around its run, in the same step: chords that are opened, parts that are counted, and
//! what follows the last of them.

use std::sync::Arc;

use apium_protocol::json::text::Json;
use apium_protocol::result::state::State;

use crate::backend::chord::{ChordPart, ChordProgress, FailedPart};
use crate::broker::consumer::Consumer;
use crate::broker::follow_ups::{ChordContinuation, EndedPart, FollowUps};
use crate::broker::settlement::{Acknowledgement, Receipt, Settlement};
use crate::conformance::backend::atomic::settle;
use crate::conformance::backend::chords::{count, done, failed, header, part};
use crate::conformance::fixture::Fixture;
use crate::conformance::kit::{
    assert_counts, assert_lost, join, mark, names, numbered, receipts, record, send, state_of, take, through, to,
};

/// The body of a chord: one message that names it and shows the results. A failed header is a stored FAILURE and an errback.
#[derive(Default)]
struct Body {
    name: &'static str,
    /// A part of another chord that ends with this one.
    then: Option<EndedPart>,
}

impl ChordContinuation for Body {
    fn complete(&self, results: Vec<Json>) -> FollowUps {
        let shown: Vec<&str> = results.iter().map(Json::as_str).collect();
        FollowUps {
            records: vec![record(&format!("sent-{}", self.name), State::Started, None)],
            publish: vec![to("body", &format!("{}:{}", self.name, shown.join(",")))],
            parts: self.then.iter().cloned().collect(),
            ..FollowUps::default()
        }
    }

    fn failed(&self, part: FailedPart) -> FollowUps {
        FollowUps {
            records: vec![record(self.name, State::Failure, None)],
            publish: vec![to("errbacks", &format!("{}:{}", self.name, part.task_id))],
            parts: self.then.iter().cloned().collect(),
            ..FollowUps::default()
        }
    }
}

fn body(name: &'static str) -> Arc<dyn ChordContinuation> {
    Arc::new(Body { name, ..Body::default() })
}

/// The end of a run that was a part of a chord with the body `b`.
fn ends(part: ChordPart, delivery: Option<Receipt>) -> Settlement {
    let record = record(part.task_id.as_str(), part.state.clone(), mark(0, 1));
    let parts = vec![EndedPart { part, continuation: body("b") }];
    Settlement {
        record: Some(record),
        delivery: delivery.map(|receipt| (receipt, Acknowledgement::Ack)),
        follow_ups: Some(Box::new(FollowUps { parts, ..FollowUps::default() })),
        ..Settlement::default()
    }
}

fn of_follow_ups(follow_ups: FollowUps) -> Settlement {
    Settlement { follow_ups: Some(Box::new(follow_ups)), ..Settlement::default() }
}

/// A consumer that holds `messages` deliveries of the queue `q`; `None` where the driver settles in several steps.
async fn holding(f: &Fixture, messages: usize) -> Option<(Box<dyn Consumer>, Vec<Receipt>)> {
    f.backend.chords()?;
    let mut consumer = f.consumer(&["q"]).await;
    let acker = consumer.acker();
    acker.atomic().filter(|atomic| atomic.shares_store_with(f.backend.address()))?;
    send(&f.broker, "q", &numbered("m", messages)).await;
    let held = if messages == 0 { Vec::new() } else { receipts(&take(&mut consumer, messages).await) };
    Some((consumer, held))
}

async fn settled(f: &Fixture, consumer: &dyn Consumer, batch: Vec<Settlement>) {
    settle(f, consumer, batch).await.expect("it was atomic before").expect("could not settle");
}

/// Opens a chord, in a settlement.
async fn open(f: &Fixture, consumer: &dyn Consumer, group: &str, size: u64) {
    settled(f, consumer, vec![of_follow_ups(FollowUps { opens: vec![header(group, size)], ..FollowUps::default() })])
        .await;
    assert_eq!(count(f, group).await, Some((0, size)));
}

/// What waits in a queue, all of it.
async fn all(f: &Fixture, queue: &str, wanted: usize) -> Vec<String> {
    assert_counts(f, queue, (wanted as u64, 0, 0)).await;
    if wanted == 0 {
        return Vec::new();
    }
    let mut consumer = f.consumer(&[queue]).await;
    let got = take(&mut consumer, wanted).await;
    consumer.acker().ack(receipts(&got)).await.expect("could not ack");
    consumer.close().await.expect("could not close");
    names(&got)
}

/// Results of other tasks, chords and messages that a settlement brings are done with it.
pub async fn a_sequel_is_done_with_its_settlement(f: Fixture) {
    let Some((consumer, held)) = holding(&f, 1).await else { return };
    let follow_ups = FollowUps {
        records: vec![record("behind", State::Failure, None)],
        opens: vec![header("g", 2), header("h", 1)],
        publish: vec![to("next", "third")],
        parts: Vec::new(),
    };
    let settlement = Settlement {
        record: Some(record("t", State::Success, mark(0, 1))),
        publish: vec![to("next", "first"), to("next", "second")],
        delivery: Some((held[0].clone(), Acknowledgement::Ack)),
        follow_ups: Some(Box::new(follow_ups)),
    };
    settled(&f, &*consumer, vec![settlement]).await;
    assert_eq!((state_of(&f, "t").await, state_of(&f, "behind").await), (Some(State::Success), Some(State::Failure)));
    assert_eq!((count(&f, "g").await, count(&f, "h").await), (Some((0, 2)), Some((0, 1))));
    assert_eq!(all(&f, "next", 3).await, ["first", "second", "third"]);
    assert_counts(&f, "q", (0, 0, 0)).await;
}

/// The settlement with the last part stores the result, sends the body once, ends the chord and acks.
pub async fn the_last_part_takes_the_rest_with_it(f: Fixture) {
    let Some((consumer, held)) = holding(&f, 3).await else { return };
    open(&f, &*consumer, "g", 3).await;
    for (place, id, receipt) in [(2, "c", &held[0]), (0, "a", &held[1])] {
        settled(&f, &*consumer, vec![ends(part("g", id, place, &place.to_string()), Some(receipt.clone()))]).await;
        assert_eq!(state_of(&f, id).await, Some(State::Success));
    }
    assert_eq!(count(&f, "g").await, Some((2, 3)));
    assert_counts(&f, "body", (0, 0, 0)).await;
    settled(&f, &*consumer, vec![ends(part("g", "b", 1, "1"), Some(held[2].clone()))]).await;
    assert_eq!(all(&f, "body", 1).await, ["b:0,1,2"]);
    assert_eq!((state_of(&f, "b").await, state_of(&f, "sent-b").await), (Some(State::Success), Some(State::Started)));
    assert_counts(&f, "q", (0, 0, 0)).await;
    assert_eq!(count(&f, "g").await, None);
    assert_eq!(done(&f, part("g", "a", 0, "0")).await, ChordProgress::Fired);
}

/// A part whose run came twice is settled like the first time, and sends no second body.
pub async fn a_copy_of_a_part_sends_nothing(f: Fixture) {
    let Some((consumer, held)) = holding(&f, 3).await else { return };
    open(&f, &*consumer, "g", 2).await;
    let end = |id: &str, place, at: usize| vec![ends(part("g", id, place, "1"), Some(held[at].clone()))];
    settled(&f, &*consumer, end("a", 0, 0)).await;
    settled(&f, &*consumer, vec![ends(part("g", "a", 0, "1"), None)]).await;
    assert_eq!(count(&f, "g").await, Some((1, 2)));
    settled(&f, &*consumer, end("b", 1, 1)).await;
    settled(&f, &*consumer, end("b", 1, 2)).await;
    assert_eq!(all(&f, "body", 1).await, ["b:1,1"]);
    assert_counts(&f, "q", (0, 0, 0)).await;
}

/// A header of which a part failed fails the body in the step that brings the last part.
pub async fn a_failed_header_fails_the_body(f: Fixture) {
    let Some((consumer, held)) = holding(&f, 2).await else { return };
    open(&f, &*consumer, "g", 2).await;
    settled(&f, &*consumer, vec![ends(failed("g", "a", 0), Some(held[0].clone()))]).await;
    assert_eq!(state_of(&f, "b").await, None);
    settled(&f, &*consumer, vec![ends(part("g", "z", 1, "1"), Some(held[1].clone()))]).await;
    assert_eq!(state_of(&f, "b").await, Some(State::Failure));
    assert_eq!(all(&f, "errbacks", 1).await, ["b:a"]);
    assert_counts(&f, "body", (0, 0, 0)).await;
    assert_counts(&f, "q", (0, 0, 0)).await;
    settled(&f, &*consumer, vec![ends(part("g", "z", 1, "1"), None)]).await;
    assert_counts(&f, "errbacks", (0, 0, 0)).await;
    assert_eq!(count(&f, "g").await, None);
}

/// A body that goes nowhere fails its chord, or nobody would ever hear of it; the run that brought the last part is settled.
pub async fn a_body_that_goes_nowhere_is_failed(f: Fixture) {
    struct Nowhere(Body);

    impl ChordContinuation for Nowhere {
        fn complete(&self, results: Vec<Json>) -> FollowUps {
            let mut follow_ups = self.0.complete(results);
            follow_ups.publish.push(through("missing", "key", "bad"));
            follow_ups
        }

        fn failed(&self, part: FailedPart) -> FollowUps {
            assert_eq!(part.state, State::Failure);
            let text = part.exception.as_str();
            assert!(text.contains("ChordError") && text.contains("missing"), "{text}");
            self.0.failed(part)
        }
    }

    let Some((consumer, held)) = holding(&f, 2).await else { return };
    open(&f, &*consumer, "g", 1).await;
    let mut end = ends(part("g", "a", 0, "1"), Some(held[0].clone()));
    if let Some(follow_ups) = &mut end.follow_ups {
        follow_ups.parts[0].continuation = Arc::new(Nowhere(Body { name: "b", ..Body::default() }));
    }
    let other = Settlement { delivery: Some((held[1].clone(), Acknowledgement::Ack)), ..Settlement::default() };
    settled(&f, &*consumer, vec![end, other]).await;
    assert_eq!(all(&f, "errbacks", 1).await, ["b:a"]);
    assert_eq!((state_of(&f, "a").await, state_of(&f, "b").await), (Some(State::Success), Some(State::Failure)));
    assert_eq!(state_of(&f, "sent-b").await, None);
    assert_eq!(count(&f, "g").await, None);
    for queue in ["q", "body"] {
        assert_counts(&f, queue, (0, 0, 0)).await;
    }
}

/// What follows a header may be the last part of another chord, whose body then goes out in the same step; and so on.
pub async fn a_rest_may_end_another_chord(f: Fixture) {
    let Some((consumer, held)) = holding(&f, 1).await else { return };
    for (group, size) in [("inner", 1), ("middle", 2), ("outer", 1)] {
        open(&f, &*consumer, group, size).await;
    }
    settled(&f, &*consumer, vec![ends(failed("middle", "x", 0), None)]).await;
    let outer = EndedPart { part: failed("outer", "o", 0), continuation: body("outer") };
    let middle = Arc::new(Body { name: "middle", then: Some(outer) });
    let middle = EndedPart { part: part("middle", "m", 1, "5"), continuation: middle };
    let inner = Arc::new(Body { name: "inner", then: Some(middle) });
    let parts = vec![EndedPart { part: part("inner", "i", 0, "7"), continuation: inner }];
    let settlement = Settlement {
        delivery: Some((held[0].clone(), Acknowledgement::Ack)),
        ..of_follow_ups(FollowUps { parts, ..FollowUps::default() })
    };
    settled(&f, &*consumer, vec![settlement]).await;
    assert_eq!(all(&f, "body", 1).await, ["inner:7"]);
    let mut errbacks = all(&f, "errbacks", 2).await;
    errbacks.sort();
    assert_eq!(errbacks, ["middle:x", "outer:o"]);
    for name in ["middle", "outer"] {
        assert_eq!(state_of(&f, name).await, Some(State::Failure));
    }
    for group in ["inner", "middle", "outer"] {
        assert_eq!(count(&f, group).await, None);
    }
    assert_counts(&f, "q", (0, 0, 0)).await;
}

/// One run may end parts of several chords.
pub async fn several_parts_end_with_one_run(f: Fixture) {
    let Some((consumer, _)) = holding(&f, 0).await else { return };
    for (group, size) in [("g", 1), ("h", 2), ("i", 1)] {
        open(&f, &*consumer, group, size).await;
    }
    let parts = [("g", "gb"), ("h", "hb"), ("i", "ib")];
    let parts = parts.map(|(group, name)| EndedPart { part: part(group, "t", 0, "1"), continuation: body(name) });
    settled(&f, &*consumer, vec![of_follow_ups(FollowUps { parts: parts.to_vec(), ..FollowUps::default() })]).await;
    let mut bodies = all(&f, "body", 2).await;
    bodies.sort();
    assert_eq!(bodies, ["gb:1", "ib:1"]);
    assert_eq!(count(&f, "h").await, Some((1, 2)));
}

/// A lost receipt drops its part with everything else; the others are done.
pub async fn a_lost_receipt_drops_its_part(f: Fixture) {
    let Some((consumer, held)) = holding(&f, 2).await else { return };
    open(&f, &*consumer, "g", 2).await;
    consumer.acker().ack(vec![held[0].clone()]).await.expect("could not ack");
    let mut lost = ends(part("g", "a", 0, "1"), Some(held[0].clone()));
    if let Some(follow_ups) = &mut lost.follow_ups {
        follow_ups.records.push(record("behind", State::Failure, None));
        follow_ups.opens.push(header("h", 1));
        follow_ups.publish.push(to("next", "lost"));
    }
    let batch = vec![lost, ends(part("g", "b", 1, "2"), Some(held[1].clone()))];
    assert_lost(settle(&f, &*consumer, batch).await.expect("it was atomic before"), &held[..1]);
    assert_eq!(count(&f, "g").await, Some((1, 2)));
    assert_eq!(count(&f, "h").await, None);
    assert_eq!((state_of(&f, "a").await, state_of(&f, "behind").await), (None, None));
    assert_eq!(state_of(&f, "b").await, Some(State::Success));
    for queue in ["q", "next", "body"] {
        assert_counts(&f, queue, (0, 0, 0)).await;
    }
    settled(&f, &*consumer, vec![ends(part("g", "a", 0, "1"), None)]).await;
    assert_eq!(all(&f, "body", 1).await, ["b:1,2"]);
}

/// A receipt that stands twice in a batch counts its part the first time.
pub async fn a_receipt_counts_once_in_a_batch(f: Fixture) {
    let Some((consumer, held)) = holding(&f, 1).await else { return };
    open(&f, &*consumer, "g", 2).await;
    let batch =
        vec![ends(part("g", "a", 0, "1"), Some(held[0].clone())), ends(part("g", "b", 1, "2"), Some(held[0].clone()))];
    assert_lost(settle(&f, &*consumer, batch).await.expect("it was atomic before"), &held);
    assert_eq!(count(&f, "g").await, Some((1, 2)));
    assert_eq!((state_of(&f, "a").await, state_of(&f, "b").await), (Some(State::Success), None));
    assert_counts(&f, "body", (0, 0, 0)).await;
}

/// One batch may open a chord and hold all of its parts; the body goes out once.
pub async fn one_batch_may_hold_the_last_parts(f: Fixture) {
    let Some((consumer, held)) = holding(&f, 3).await else { return };
    let mut batch =
        vec![of_follow_ups(FollowUps { opens: vec![header("g", 3), header("h", 1)], ..FollowUps::default() })];
    let ends_of_g = ["a", "b", "c"].iter().zip(0..).zip(&held);
    batch.extend(ends_of_g.map(|((id, place), receipt)| ends(part("g", id, place, "1"), Some(receipt.clone()))));
    batch.push(ends(part("h", "d", 0, "2"), None));
    settled(&f, &*consumer, batch).await;
    let mut bodies = all(&f, "body", 2).await;
    bodies.sort();
    assert_eq!(bodies, ["b:1,1,1", "b:2"]);
    assert_counts(&f, "q", (0, 0, 0)).await;
    assert_eq!((count(&f, "g").await, count(&f, "h").await), (None, None));
}

/// Parts of runs that were acked before they ran have no delivery, and end a chord all the same.
pub async fn parts_need_no_delivery(f: Fixture) {
    let Some((consumer, _)) = holding(&f, 0).await else { return };
    open(&f, &*consumer, "g", 2).await;
    settled(&f, &*consumer, vec![ends(part("g", "a", 0, "1"), None)]).await;
    settled(&f, &*consumer, vec![ends(part("g", "b", 1, "2"), None)]).await;
    assert_eq!(all(&f, "body", 1).await, ["b:1,2"]);
}

/// A part of which another has the claim on the body is counted and settled, and leaves the rest to it.
pub async fn a_claim_of_another_is_left_to_it(f: Fixture) {
    let Some((consumer, held)) = holding(&f, 1).await else { return };
    open(&f, &*consumer, "g", 1).await;
    let only = part("g", "a", 0, "1");
    let elsewhere = ChordPart { claimant: "another".to_owned(), ..only.clone() };
    assert!(matches!(done(&f, elsewhere).await, ChordProgress::Complete(_)));
    settled(&f, &*consumer, vec![ends(only, Some(held[0].clone()))]).await;
    assert_counts(&f, "body", (0, 0, 0)).await;
    assert_counts(&f, "q", (0, 0, 0)).await;
    assert_eq!(count(&f, "g").await, Some((1, 1)));
}

/// A consumer that waits is woken by a body.
pub async fn a_body_wakes_who_waits(f: Fixture) {
    let Some((consumer, held)) = holding(&f, 1).await else { return };
    open(&f, &*consumer, "g", 1).await;
    let mut waiting = f.consumer(&["body"]).await;
    let work = async {
        tokio::task::yield_now().await;
        settled(&f, &*consumer, vec![ends(part("g", "a", 0, "1"), Some(held[0].clone()))]).await;
    };
    let (woken, ()) = join(take(&mut waiting, 1), work).await;
    assert_eq!(names(&woken), ["b:1"]);
}

/// Workers of several handles that end the last parts at the same time send one body.
pub async fn handles_send_one_body(f: Fixture) {
    let Some((consumer, held)) = holding(&f, 6).await else { return };
    let Some(other) = f.reopen().await else { return };
    let mut elsewhere = other.broker.consume(f.spec(&["q"])).await.expect("could not consume");
    send(&other.broker, "q", &numbered("n", 6)).await;
    let theirs = receipts(&take(&mut elsewhere, 6).await);
    open(&f, &*consumer, "g", 12).await;
    let batch = |held: &[Receipt], from: i64| -> Vec<Settlement> {
        let ends_of = |(place, receipt): (i64, &Receipt)| {
            ends(part("g", &format!("t{place}"), place, "1"), Some(receipt.clone()))
        };
        (from..).zip(held).map(ends_of).collect()
    };
    let (ours, theirs) = (batch(&held, 0), batch(&theirs, 6));
    join(
        async {
            for end in ours {
                settled(&f, &*consumer, vec![end]).await;
            }
        },
        async {
            for end in theirs {
                settled(&f, &*elsewhere, vec![end]).await;
            }
        },
    )
    .await;
    assert_eq!(all(&f, "body", 1).await, [format!("b:{}", ["1"; 12].join(","))]);
    assert_counts(&f, "q", (0, 0, 0)).await;
}
