//! Exchanges and bindings.

use std::collections::BTreeMap;

use apium_protocol::json::text::Json;

use crate::broker::outgoing::Outgoing;
use crate::broker::topology::{ExchangeType, Queue, Topology};
use crate::conformance::fixture::Fixture;
use crate::conformance::kit::{ack, assert_counts, names, nothing_else, take, through, to};
use crate::error::ErrorKind;

async fn declare(f: &Fixture, queues: Vec<Queue>) {
    f.broker.declare(&Topology { queues }).await.expect("could not declare");
}

async fn publish(f: &Fixture, batch: Vec<Outgoing>) {
    f.broker.publish(batch).await.expect("could not publish");
}

/// Asserts that a queue holds these messages, and takes them.
async fn assert_holds(f: &Fixture, queue: &str, wanted: &[&str]) {
    let mut consumer = f.consumer(&[queue]).await;
    let got = take(&mut consumer, wanted.len()).await;
    assert_eq!(names(&got), wanted, "in {queue}");
    ack(&*consumer, &got).await;
    nothing_else(&f.broker, queue, &mut consumer).await;
    consumer.close().await.expect("could not close");
}

/// The default exchange routes to the queue that the routing key names, and makes it if it is missing.
pub async fn the_default_exchange_makes_the_queue(f: Fixture) {
    publish(&f, vec![to("new", "m")]).await;
    assert_counts(&f, "new", (1, 0, 0)).await;
}

/// A declared queue is listed.
pub async fn a_declared_queue_is_listed(f: Fixture) {
    declare(&f, vec![Queue::new("q")]).await;
    let all = f.counts().stats().await.expect("could not count");
    assert_eq!(all.iter().map(|stats| stats.queue.as_str()).collect::<Vec<_>>(), ["q"]);
}

/// A declared queue gets the messages of the exchange of its own name.
pub async fn a_declared_queue_has_its_own_exchange(f: Fixture) {
    declare(&f, vec![Queue::new("q")]).await;
    publish(&f, vec![through("q", "q", "m")]).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 1).await;
    assert_eq!((&*got[0].queue, &*got[0].exchange, &*got[0].routing_key), ("q", "q", "q"));
}

/// A direct exchange routes to each queue that is bound by the same key.
pub async fn a_direct_exchange_routes_by_equal_keys(f: Fixture) {
    let queue = |name: &str, key: &str| Queue::new(name).exchange("x", ExchangeType::Direct).routing_key(key);
    declare(&f, vec![queue("a", "red"), queue("b", "blue"), queue("c", "red")]).await;
    publish(&f, vec![through("x", "red", "1"), through("x", "blue", "2"), through("x", "red", "3")]).await;
    assert_holds(&f, "a", &["1", "3"]).await;
    assert_holds(&f, "b", &["2"]).await;
    assert_holds(&f, "c", &["1", "3"]).await;
}

/// A topic exchange routes by patterns; a queue that matches twice gets the message once.
pub async fn a_topic_exchange_routes_by_patterns(f: Fixture) {
    let queue = |name: &str, key: &str| Queue::new(name).exchange("t", ExchangeType::Topic).routing_key(key);
    declare(&f, vec![queue("star", "task.*"), queue("hash", "task.#"), queue("exact", "task.done"), queue("all", "#")])
        .await;
    declare(&f, vec![queue("star", "*.done")]).await;
    for (key, name) in [("task.done", "1"), ("task", "2"), ("task.done.well", "3"), ("other.done", "4")] {
        publish(&f, vec![through("t", key, name)]).await;
    }
    assert_holds(&f, "star", &["1", "4"]).await;
    assert_holds(&f, "hash", &["1", "2", "3"]).await;
    assert_holds(&f, "exact", &["1"]).await;
    assert_holds(&f, "all", &["1", "2", "3", "4"]).await;
}

/// A fanout exchange routes to every bound queue whatever the key; each copy is settled by itself.
pub async fn a_fanout_exchange_routes_to_all(f: Fixture) {
    let queue = |name: &str| Queue::new(name).exchange("f", ExchangeType::Fanout);
    declare(&f, vec![queue("a"), queue("b")]).await;
    publish(&f, vec![through("f", "whatever", "1"), through("f", "", "2")]).await;
    let mut a = f.consumer(&["a"]).await;
    let mut b = f.consumer(&["b"]).await;
    let (from_a, from_b) = (take(&mut a, 2).await, take(&mut b, 2).await);
    assert_eq!((names(&from_a), names(&from_b)), (names(&from_b), vec!["1".to_owned(), "2".to_owned()]));
    ack(&*a, &from_a).await;
    assert_counts(&f, "b", (0, 2, 0)).await;
    assert_counts(&f, "a", (0, 0, 0)).await;
}

/// Declaring is idempotent: nothing is routed twice and nothing is lost.
pub async fn declaring_twice_changes_nothing(f: Fixture) {
    for _ in 0..3 {
        declare(&f, vec![Queue::new("q"), Queue::new("q")]).await;
        publish(&f, vec![through("q", "q", "m")]).await;
    }
    assert_counts(&f, "q", (3, 0, 0)).await;
}

/// A queue bound by headers gets the messages that have them, whatever their key. A broker that has no such exchanges
/// says so: it does not route by keys instead.
pub async fn a_headers_exchange_routes_by_headers_or_is_refused(f: Fixture) {
    let named = |texts: &[(&str, &str)]| -> BTreeMap<String, Json> {
        texts.iter().map(|(name, json)| ((*name).to_owned(), Json::from_text(json).expect("it is JSON"))).collect()
    };
    let bound = |name: &str, arguments: &[(&str, &str)]| {
        let mut queue = Queue::new(name).exchange("h", ExchangeType::Headers);
        queue.binding_arguments = named(arguments);
        queue
    };
    let both = bound("both", &[("format", "\"pdf\""), ("copies", "2")]);
    let any = bound("any", &[("x-match", "\"any\""), ("format", "\"pdf\""), ("copies", "2")]);
    let topology = Topology { queues: vec![both, any] };
    if !f.broker.capabilities().headers_exchanges {
        let error = f.broker.declare(&topology).await.expect_err("it cannot bind a queue by headers");
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(error.to_string().contains("both"), "{error}");
        return;
    }
    f.broker.declare(&topology).await.expect("could not declare");
    let with = |name: &str, headers: &[(&str, &str)]| {
        let mut out = through("h", "a key that nobody binds", name);
        out.message.headers.extra = named(headers);
        out
    };
    let batch = vec![
        with("m1", &[("format", "\"pdf\""), ("copies", "2"), ("more", "[1]")]),
        with("m2", &[("format", "\"pdf\""), ("copies", "1")]),
        with("m3", &[]),
    ];
    publish(&f, batch).await;
    assert_holds(&f, "both", &["m1"]).await;
    assert_holds(&f, "any", &["m1", "m2"]).await;
}

/// An exchange does not change its type.
pub async fn an_exchange_keeps_its_type(f: Fixture) {
    declare(&f, vec![Queue::new("q").exchange("x", ExchangeType::Topic)]).await;
    let other = Topology { queues: vec![Queue::new("r").exchange("x", ExchangeType::Fanout)] };
    let error = f.broker.declare(&other).await.expect_err("an exchange changed its type");
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
}

/// A wrong exchange, and a key of a direct exchange that no queue is bound by, are errors: no message is lost.
pub async fn a_message_that_goes_nowhere_is_an_error(f: Fixture) {
    declare(&f, vec![Queue::new("q").exchange("x", ExchangeType::Direct).routing_key("key")]).await;
    for out in [through("missing", "key", "m"), through("x", "wrong", "m")] {
        let error = f.broker.publish(vec![out]).await.expect_err("a message went nowhere");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
}

/// A topic exchange drops what no binding matches.
pub async fn what_no_binding_matches_is_dropped(f: Fixture) {
    declare(&f, vec![Queue::new("q").exchange("t", ExchangeType::Topic).routing_key("a.*")]).await;
    publish(&f, vec![through("t", "b.c", "dropped")]).await;
    let mut consumer = f.consumer(&["q"]).await;
    nothing_else(&f.broker, "q", &mut consumer).await;
}
