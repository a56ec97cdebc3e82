//! Follow-ups of a settlement, done in the same step: chords that are opened, parts that are counted, and what follows
//! the last part.

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
    assert_counts, assert_lost, join, names, numbered, receipts, record, run, send, state_of, take, through, to,
};

/// The body of a chord: one message that names it and shows the results. A failed header stores FAILURE and sends an
/// errback.
#[derive(Default)]
struct Body {
    name: &'static str,
    /// The part of another chord that ends with this chord.
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

/// The settlement of a run that was a part of a chord with the body `b`.
fn ends(part: ChordPart, delivery: Option<Receipt>) -> Settlement {
    let record = record(part.task_id.as_str(), part.state.clone(), run(0, 1));
    let parts = vec![EndedPart { part, continuation: body("b") }];
    Settlement {
        record: Some(Box::new(record)),
        delivery: delivery.map(|receipt| (receipt, Acknowledgement::Ack)),
        follow_ups: Some(Box::new(FollowUps { parts, ..FollowUps::default() })),
        ..Settlement::default()
    }
}

fn of_follow_ups(follow_ups: FollowUps) -> Settlement {
    Settlement { follow_ups: Some(Box::new(follow_ups)), ..Settlement::default() }
}

/// A consumer of the queue `q` with so many deliveries in flight.
async fn consuming(f: &Fixture, messages: usize) -> (Box<dyn Consumer>, Vec<Receipt>) {
    let mut consumer = f.consumer(&["q"]).await;
    send(&f.broker, "q", &numbered("m", messages)).await;
    let in_flight = receipts(&take(&mut consumer, messages).await);
    (consumer, in_flight)
}

async fn settled(f: &Fixture, consumer: &dyn Consumer, batch: Vec<Settlement>) {
    settle(f, consumer, batch).await.expect("could not settle");
}

/// Opens a chord, in a settlement.
async fn open(f: &Fixture, consumer: &dyn Consumer, group: &str, size: u64) {
    settled(f, consumer, vec![of_follow_ups(FollowUps { opens: vec![header(group, size)], ..FollowUps::default() })])
        .await;
    assert_eq!(count(f, group).await, Some((0, size)));
}

/// Takes all `wanted` messages of a queue.
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

/// Results of other tasks, chords and messages are done with their settlement.
pub async fn follow_ups_are_done_with_their_settlement(f: Fixture) {
    let (consumer, in_flight) = consuming(&f, 1).await;
    let follow_ups = FollowUps {
        records: vec![record("behind", State::Failure, None)],
        opens: vec![header("g", 2), header("h", 1)],
        publish: vec![to("next", "third")],
        parts: Vec::new(),
    };
    let settlement = Settlement {
        record: Some(Box::new(record("t", State::Success, run(0, 1)))),
        publish: vec![to("next", "first"), to("next", "second")],
        delivery: Some((in_flight[0].clone(), Acknowledgement::Ack)),
        follow_ups: Some(Box::new(follow_ups)),
    };
    settled(&f, &*consumer, vec![settlement]).await;
    assert_eq!((state_of(&f, "t").await, state_of(&f, "behind").await), (Some(State::Success), Some(State::Failure)));
    assert_eq!((count(&f, "g").await, count(&f, "h").await), (Some((0, 2)), Some((0, 1))));
    assert_eq!(all(&f, "next", 3).await, ["first", "second", "third"]);
    assert_counts(&f, "q", (0, 0, 0)).await;
}

/// The settlement with the last part stores the result, sends the body once, ends the chord and acks.
pub async fn the_last_part_sends_the_body(f: Fixture) {
    let (consumer, in_flight) = consuming(&f, 3).await;
    open(&f, &*consumer, "g", 3).await;
    for (place, id, receipt) in [(2, "c", &in_flight[0]), (0, "a", &in_flight[1])] {
        settled(&f, &*consumer, vec![ends(part("g", id, place, &place.to_string()), Some(receipt.clone()))]).await;
        assert_eq!(state_of(&f, id).await, Some(State::Success));
    }
    assert_eq!(count(&f, "g").await, Some((2, 3)));
    assert_counts(&f, "body", (0, 0, 0)).await;
    settled(&f, &*consumer, vec![ends(part("g", "b", 1, "1"), Some(in_flight[2].clone()))]).await;
    assert_eq!(all(&f, "body", 1).await, ["b:0,1,2"]);
    assert_eq!((state_of(&f, "b").await, state_of(&f, "sent-b").await), (Some(State::Success), Some(State::Started)));
    assert_counts(&f, "q", (0, 0, 0)).await;
    assert_eq!(count(&f, "g").await, None);
    assert_eq!(done(&f, part("g", "a", 0, "0")).await, ChordProgress::Fired);
}

/// A copy of a part is settled like the part, and sends no second body.
pub async fn a_copy_of_a_part_sends_nothing(f: Fixture) {
    let (consumer, in_flight) = consuming(&f, 3).await;
    open(&f, &*consumer, "g", 2).await;
    let end = |id: &str, place, at: usize| vec![ends(part("g", id, place, "1"), Some(in_flight[at].clone()))];
    settled(&f, &*consumer, end("a", 0, 0)).await;
    settled(&f, &*consumer, vec![ends(part("g", "a", 0, "1"), None)]).await;
    assert_eq!(count(&f, "g").await, Some((1, 2)));
    settled(&f, &*consumer, end("b", 1, 1)).await;
    settled(&f, &*consumer, end("b", 1, 2)).await;
    assert_eq!(all(&f, "body", 1).await, ["b:1,1"]);
    assert_counts(&f, "q", (0, 0, 0)).await;
}

/// A failed part of the header fails the body in the step that brings the last part.
pub async fn a_failed_header_fails_the_body(f: Fixture) {
    let (consumer, in_flight) = consuming(&f, 2).await;
    open(&f, &*consumer, "g", 2).await;
    settled(&f, &*consumer, vec![ends(failed("g", "a", 0), Some(in_flight[0].clone()))]).await;
    assert_eq!(state_of(&f, "b").await, None);
    settled(&f, &*consumer, vec![ends(part("g", "z", 1, "1"), Some(in_flight[1].clone()))]).await;
    assert_eq!(state_of(&f, "b").await, Some(State::Failure));
    assert_eq!(all(&f, "errbacks", 1).await, ["b:a"]);
    assert_counts(&f, "body", (0, 0, 0)).await;
    assert_counts(&f, "q", (0, 0, 0)).await;
    settled(&f, &*consumer, vec![ends(part("g", "z", 1, "1"), None)]).await;
    assert_counts(&f, "errbacks", (0, 0, 0)).await;
    assert_eq!(count(&f, "g").await, None);
}

/// A body that cannot be published fails its chord. The run that brought the last part is settled all the same.
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

    let (consumer, in_flight) = consuming(&f, 2).await;
    open(&f, &*consumer, "g", 1).await;
    let mut end = ends(part("g", "a", 0, "1"), Some(in_flight[0].clone()));
    if let Some(follow_ups) = &mut end.follow_ups {
        follow_ups.parts[0].continuation = Arc::new(Nowhere(Body { name: "b", ..Body::default() }));
    }
    let other = Settlement { delivery: Some((in_flight[1].clone(), Acknowledgement::Ack)), ..Settlement::default() };
    settled(&f, &*consumer, vec![end, other]).await;
    assert_eq!(all(&f, "errbacks", 1).await, ["b:a"]);
    assert_eq!((state_of(&f, "a").await, state_of(&f, "b").await), (Some(State::Success), Some(State::Failure)));
    assert_eq!(state_of(&f, "sent-b").await, None);
    assert_eq!(count(&f, "g").await, None);
    for queue in ["q", "body"] {
        assert_counts(&f, queue, (0, 0, 0)).await;
    }
}

/// What follows a header may be the last part of another chord, whose body is sent in the same step, and so on.
pub async fn a_continuation_may_end_another_chord(f: Fixture) {
    let (consumer, in_flight) = consuming(&f, 1).await;
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
        delivery: Some((in_flight[0].clone(), Acknowledgement::Ack)),
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

/// One run may be a part of several chords.
pub async fn several_parts_end_with_one_run(f: Fixture) {
    let (consumer, _) = consuming(&f, 0).await;
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

/// A lost receipt drops its part with its whole settlement; the others are done.
pub async fn a_lost_receipt_drops_its_part(f: Fixture) {
    let (consumer, in_flight) = consuming(&f, 2).await;
    open(&f, &*consumer, "g", 2).await;
    consumer.acker().ack(vec![in_flight[0].clone()]).await.expect("could not ack");
    let mut lost = ends(part("g", "a", 0, "1"), Some(in_flight[0].clone()));
    if let Some(follow_ups) = &mut lost.follow_ups {
        follow_ups.records.push(record("behind", State::Failure, None));
        follow_ups.opens.push(header("h", 1));
        follow_ups.publish.push(to("next", "lost"));
    }
    let batch = vec![lost, ends(part("g", "b", 1, "2"), Some(in_flight[1].clone()))];
    assert_lost(settle(&f, &*consumer, batch).await, &in_flight[..1]);
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

/// Of a receipt that is twice in a batch only the first settlement is done.
pub async fn a_receipt_counts_once_in_a_batch(f: Fixture) {
    let (consumer, in_flight) = consuming(&f, 1).await;
    open(&f, &*consumer, "g", 2).await;
    let batch = vec![
        ends(part("g", "a", 0, "1"), Some(in_flight[0].clone())),
        ends(part("g", "b", 1, "2"), Some(in_flight[0].clone())),
    ];
    assert_lost(settle(&f, &*consumer, batch).await, &in_flight);
    assert_eq!(count(&f, "g").await, Some((1, 2)));
    assert_eq!((state_of(&f, "a").await, state_of(&f, "b").await), (Some(State::Success), None));
    assert_counts(&f, "body", (0, 0, 0)).await;
}

/// One batch may open a chord and contain all of its parts; the body is sent once.
pub async fn one_batch_may_be_a_whole_chord(f: Fixture) {
    let (consumer, in_flight) = consuming(&f, 3).await;
    let mut batch =
        vec![of_follow_ups(FollowUps { opens: vec![header("g", 3), header("h", 1)], ..FollowUps::default() })];
    let ends_of_g = ["a", "b", "c"].iter().zip(0..).zip(&in_flight);
    batch.extend(ends_of_g.map(|((id, place), receipt)| ends(part("g", id, place, "1"), Some(receipt.clone()))));
    batch.push(ends(part("h", "d", 0, "2"), None));
    settled(&f, &*consumer, batch).await;
    let mut bodies = all(&f, "body", 2).await;
    bodies.sort();
    assert_eq!(bodies, ["b:1,1,1", "b:2"]);
    assert_counts(&f, "q", (0, 0, 0)).await;
    assert_eq!((count(&f, "g").await, count(&f, "h").await), (None, None));
}

/// Parts of runs that were acked early have no delivery, and end a chord all the same.
pub async fn parts_need_no_delivery(f: Fixture) {
    let (consumer, _) = consuming(&f, 0).await;
    open(&f, &*consumer, "g", 2).await;
    settled(&f, &*consumer, vec![ends(part("g", "a", 0, "1"), None)]).await;
    settled(&f, &*consumer, vec![ends(part("g", "b", 1, "2"), None)]).await;
    assert_eq!(all(&f, "body", 1).await, ["b:1,2"]);
}

/// If another caller has the claim on the body, a part is counted and settled, and the body is left to that caller.
pub async fn a_body_is_left_to_its_claimant(f: Fixture) {
    let (consumer, in_flight) = consuming(&f, 1).await;
    open(&f, &*consumer, "g", 1).await;
    let only = part("g", "a", 0, "1");
    let elsewhere = ChordPart { claimant: "another".to_owned(), ..only.clone() };
    assert!(matches!(done(&f, elsewhere).await, ChordProgress::Complete(_)));
    settled(&f, &*consumer, vec![ends(only, Some(in_flight[0].clone()))]).await;
    assert_counts(&f, "body", (0, 0, 0)).await;
    assert_counts(&f, "q", (0, 0, 0)).await;
    assert_eq!(count(&f, "g").await, Some((1, 1)));
}

/// A body wakes a consumer that waits.
pub async fn a_body_wakes_who_waits(f: Fixture) {
    let (consumer, in_flight) = consuming(&f, 1).await;
    open(&f, &*consumer, "g", 1).await;
    let mut waiting = f.consumer(&["body"]).await;
    let work = async {
        tokio::task::yield_now().await;
        settled(&f, &*consumer, vec![ends(part("g", "a", 0, "1"), Some(in_flight[0].clone()))]).await;
    };
    let (woken, ()) = join(take(&mut waiting, 1), work).await;
    assert_eq!(names(&woken), ["b:1"]);
}

/// Several handles that end the last parts at the same time send one body.
pub async fn handles_send_one_body(f: Fixture) {
    let (consumer, in_flight) = consuming(&f, 6).await;
    let other = f.reopen().await;
    let mut elsewhere = other.broker.consume(f.spec(&["q"])).await.expect("could not consume");
    send(&other.broker, "q", &numbered("n", 6)).await;
    let theirs = receipts(&take(&mut elsewhere, 6).await);
    open(&f, &*consumer, "g", 12).await;
    let batch = |in_flight: &[Receipt], from: i64| -> Vec<Settlement> {
        let ends_of = |(place, receipt): (i64, &Receipt)| {
            ends(part("g", &format!("t{place}"), place, "1"), Some(receipt.clone()))
        };
        (from..).zip(in_flight).map(ends_of).collect()
    };
    let (ours, theirs) = (batch(&in_flight, 0), batch(&theirs, 6));
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
