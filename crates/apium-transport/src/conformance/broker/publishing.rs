//! Publishing: order, priority, batches, and messages that come out as they went in.

use std::collections::BTreeMap;

use apium_protocol::json::text::Json;
use apium_protocol::message::headers::TimeLimit;
use apium_protocol::message::message::Message;
use apium_protocol::message::task_id::TaskId;
use bytes::Bytes;

use crate::broker::broker::PriorityOrder;
use crate::broker::outgoing::Outgoing;
use crate::broker::topology::{Queue, Topology};
use crate::conformance::fixture::Fixture;
use crate::conformance::kit::{
    ack, assert_counts, content, message, names, next, numbered, send, soon, take, through, to, with_priority,
};
use crate::error::ErrorKind;

/// A batch is delivered in the order in which it was given.
pub async fn a_batch_keeps_its_order(f: Fixture) {
    let sent = numbered("m", 500);
    send(&f.broker, "q", &sent).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 500).await;
    assert_eq!(names(&got), sent);
}

/// Messages published one after the other are delivered in that order.
pub async fn single_messages_keep_their_order(f: Fixture) {
    let sent = numbered("m", 30);
    for name in &sent {
        send(&f.broker, "q", &[name]).await;
    }
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 30).await;
    assert_eq!(names(&got), sent);
}

/// Priorities are honoured in the declared order, first in first out within one. No priority is zero, or between zero
/// and the others where the broker says so.
pub async fn priorities_are_honoured(f: Fixture) {
    let batch = [("a", 0), ("b", 9), ("c", 5), ("d", 9), ("e", 0), ("f", 5)];
    let batch = batch.iter().map(|(name, priority)| with_priority("q", name, *priority));
    f.broker.publish(batch.chain([to("q", "none")]).collect()).await.expect("could not publish");
    let mut consumer = f.consumer(&["q"]).await;
    let got = names(&take(&mut consumer, 7).await);
    let able = f.broker.capabilities();
    match (able.priority_order, able.orders_missing_priority) {
        (PriorityOrder::LargerFirst, false) => assert_eq!(got, ["b", "d", "c", "f", "a", "e", "none"]),
        (PriorityOrder::LargerFirst, true) => assert_eq!(got, ["b", "d", "c", "f", "none", "a", "e"]),
        (PriorityOrder::SmallerFirst, false) => assert_eq!(got, ["a", "e", "none", "c", "f", "b", "d"]),
        (PriorityOrder::SmallerFirst, true) => assert_eq!(got, ["a", "e", "c", "f", "none", "b", "d"]),
    }
}

/// What is urgent is delivered before what has a priority in the middle, and that before what is of the background,
/// whichever numbers the broker has for them.
pub async fn urgent_comes_before_normal_and_background_last(f: Fixture) {
    let order = f.broker.capabilities().priority_order;
    let (urgent, background) = (order.first(), order.last());
    let batch = [("b1", background), ("n1", 5), ("u1", urgent), ("b2", background), ("n2", 5), ("u2", urgent)];
    let batch = batch.iter().map(|(name, priority)| with_priority("q", name, *priority));
    f.broker.publish(batch.collect()).await.expect("could not publish");
    let mut consumer = f.consumer(&["q"]).await;
    assert_eq!(names(&take(&mut consumer, 6).await), ["u1", "u2", "n1", "n2", "b1", "b2"]);
    let others = (0..=9).map(|priority| with_priority("others", &format!("p{priority}"), priority));
    let ends = [with_priority("others", "last", background), with_priority("others", "first", urgent)];
    f.broker.publish(others.chain(ends).collect()).await.expect("could not publish");
    // A broker may take neighbouring numbers for one, so that only what is further away has a certain place.
    let mut consumer = f.consumer(&["others"]).await;
    let got = names(&take(&mut consumer, 12).await);
    let place = |name: &str| got.iter().position(|got| got == name).expect("it was delivered");
    assert!(place("first") < place("p5") && place("p5") < place("last"), "{got:?}");
    assert_eq!(place("last"), 11, "{got:?}");
}

/// A larger priority overtakes what is in the queue, also when messages are delivered one at a time.
pub async fn a_larger_priority_overtakes(f: Fixture) {
    send(&f.broker, "q", &["first", "second"]).await;
    let mut consumer = f.limited("q", 1).await;
    let first = next(&mut consumer, 10).await;
    f.broker.publish(vec![with_priority("q", "urgent", 255)]).await.expect("could not publish");
    ack(&*consumer, &first).await;
    let got = next(&mut consumer, 10).await;
    assert_eq!(names(&got), ["urgent"]);
}

/// A queue with a largest priority takes every priority above it for that one.
pub async fn the_largest_priority_caps(f: Fixture) {
    let topology = Topology { queues: vec![Queue::new("q").max_priority(5)] };
    f.broker.declare(&topology).await.expect("could not declare");
    let batch = vec![with_priority("q", "four", 4), with_priority("q", "five", 5), with_priority("q", "nine", 9)];
    f.broker.publish(batch).await.expect("could not publish");
    let mut consumer = f.consumer(&["q"]).await;
    assert_eq!(names(&take(&mut consumer, 3).await), ["five", "nine", "four"]);
}

/// A batch is published whole or not at all.
pub async fn a_batch_is_published_whole_or_not_at_all(f: Fixture) {
    let batch = vec![to("q", "good"), through("missing", "key", "bad"), to("q", "also good")];
    let error = f.broker.publish(batch).await.expect_err("published to an exchange that does not exist");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_counts(&f, "q", (0, 0, 0)).await;
}

/// An empty batch publishes nothing and is no error.
pub async fn an_empty_batch_is_nothing(f: Fixture) {
    f.broker.publish(Vec::new()).await.expect("could not publish nothing");
}

/// Every header and property comes out as it went in, and the delivery says where the message was published to.
pub async fn a_message_comes_out_as_it_went_in(f: Fixture) {
    let json = |text: &str| Json::from_serialize(text).expect("a text is JSON");
    let mut sent = message("whole");
    let h = &mut sent.headers;
    h.lang = Some("py".into());
    h.shadow = Some("a shadow".to_owned());
    h.eta = Some("2026-01-01T00:00:00+00:00".to_owned());
    h.expires = Some("2027-01-01T00:00:00.000001+02:00".to_owned());
    h.group = Some("group".to_owned());
    h.group_index = Some(7);
    h.retries = 3;
    h.timelimit = TimeLimit { hard: Some(60.5), soft: Some(50.0) };
    h.root_id = Some(TaskId::from("root"));
    h.parent_id = Some(TaskId::from("parent"));
    h.argsrepr = Some("(1, 'ä')".to_owned());
    h.kwargsrepr = Some("{}".to_owned());
    h.origin = Some("gen1@host".into());
    h.ignore_result = Some(true);
    h.replaced_task_nesting = 2;
    h.stamped_headers = Some(vec!["tenant".to_owned()]);
    h.stamps = BTreeMap::from([("tenant".to_owned(), json("seven"))]);
    h.compression = Some("application/zstd".into());
    h.extra = BTreeMap::from([("own".to_owned(), json("\u{0}\"ö")), ("nothing".to_owned(), Json::NULL)]);
    let p = &mut sent.properties;
    p.content_type = Some("application/x-own".into());
    p.content_encoding = Some("binary".into());
    p.reply_to = Some("reply".into());
    p.delivery_mode = Some(2);
    p.priority = Some(4);
    p.expiration = Some("60000".to_owned());
    p.extra = BTreeMap::from([("message_id".to_owned(), json("id"))]);
    sent.body = Bytes::from((0..=255).collect::<Vec<u8>>());
    f.broker.publish(vec![Outgoing::to_queue("q", sent.clone())]).await.expect("could not publish");
    let mut consumer = f.consumer(&["q"]).await;
    let got = next(&mut consumer, 1).await;
    assert_eq!(content(&got[0]), &sent);
    assert_eq!((&*got[0].queue, &*got[0].exchange, &*got[0].routing_key), ("q", "", "q"));
    assert!(!got[0].redelivered);
}

/// A message without headers and properties (protocol 1 has everything in the body) comes out as it went in.
pub async fn a_bare_message_comes_out_as_it_went_in(f: Fixture) {
    f.broker.publish(vec![Outgoing::to_queue("q", Message::default())]).await.expect("could not publish");
    let mut consumer = f.consumer(&["q"]).await;
    let got = next(&mut consumer, 1).await;
    assert_eq!(content(&got[0]), &Message::default());
}

/// A body of ten megabytes is carried.
pub async fn ten_megabytes_are_carried(f: Fixture) {
    let mut large = message("large");
    large.body = (0..10 * 1024 * 1024).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    f.broker.publish(vec![Outgoing::to_queue("q", large.clone())]).await.expect("could not publish");
    let mut consumer = f.consumer(&["q"]).await;
    let got = next(&mut consumer, 1).await;
    assert!(content(&got[0]).body == large.body, "the large body came out changed");
    ack(&*consumer, &got).await;
}

/// Names of queues and ids can be any text.
pub async fn odd_names_are_carried(f: Fixture) {
    let long = "long".repeat(50);
    for queue in ["ünï code 漢字 🐝", "a'b\"c;--", "with.dots/and\\slashes", " spaces ", "%s{}$1?*#", &long] {
        for id in ["", " ", "x'; drop table t; --", "\u{0}", "日本", &"i".repeat(20_000)] {
            let mut sent = message("odd");
            sent.headers.id = Some(TaskId::from(id));
            sent.headers.task = Some("".into());
            sent.body = Bytes::new();
            f.broker.publish(vec![Outgoing::to_queue(queue, sent.clone())]).await.expect("could not publish");
            let mut consumer = f.consumer(&[queue]).await;
            let got = next(&mut consumer, 10).await;
            assert_eq!((got.len(), &*got[0].queue, content(&got[0])), (1, queue, &sent));
            ack(&*consumer, &got).await;
            consumer.close().await.expect("could not close");
        }
    }
}

/// Many publishers at once lose nothing, and each one's order is kept.
pub async fn many_publishers_keep_each_ones_order(f: Fixture) {
    let publishers = (0..8).map(|p| {
        let broker = f.broker.clone();
        async move {
            for round in 0..10 {
                let batch: Vec<String> = (0..5).map(|n| format!("{p}:{:03}", round * 5 + n)).collect();
                send(&broker, "q", &batch).await;
            }
        }
    });
    soon("publishing", futures_util::future::join_all(publishers)).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = names(&take(&mut consumer, 400).await);
    for p in 0..8 {
        let prefix = format!("{p}:");
        let own: Vec<_> = got.iter().filter(|name| name.starts_with(&prefix)).collect();
        assert_eq!(own.len(), 50);
        assert!(own.is_sorted(), "publisher {p}: {own:?}");
    }
}
