//! Keys, list elements and channels are those of kombu: compared with what Celery 5.7 writes with the same options.

use std::collections::{BTreeMap, BTreeSet};

use apium_peers::redis::{Commands, Connection, cmd};
use apium_peers::redis_server::{RedisServer, fresh_database};
use apium_protocol::message::envelope::{Envelope, unmark_redelivered};
use apium_redis::RedisBroker;
use apium_transport::broker::broker::Broker as _;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::topology::{ExchangeType, Queue, Topology};
use bytes::Bytes;
use serde_json::Value;

use crate::brokers::{ack, broker, broker_with, consumer, finish, fresh_broker, keys, length, names, spec, take, to};
use crate::kit::{connection, ran, soon, text, vector};

/// The transport options of a capture, as a configuration file would give them.
fn options_of(vector: &Value) -> BTreeMap<String, String> {
    let Some(Value::Object(options)) = vector.pointer("/config/broker_transport_options") else {
        return BTreeMap::new();
    };
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    options.iter().map(|(name, value)| (name.clone(), plain(value))).collect()
}

fn open(url: &str, options: &BTreeMap<String, String>) -> RedisBroker {
    let options: Vec<(&str, &str)> = options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    broker_with(url, &options)
}

/// The message of a list element that kombu has written, to be published by Apium.
fn outgoing(element: &str) -> Outgoing {
    let decoded = Envelope::decode(&Bytes::copy_from_slice(element.as_bytes())).unwrap();
    let routing_key = decoded.routing_key.unwrap();
    Outgoing::new(decoded.exchange.unwrap(), routing_key, decoded.message)
}

/// An element without its delivery tag, which is different for every copy.
fn untagged(element: &str) -> String {
    let (before, suffix) = element.split_once("\"delivery_tag\": \"").unwrap();
    let (tag, after) = suffix.split_once('"').unwrap();
    assert_eq!(tag.len(), 36, "{tag}");
    format!("{before}{after}")
}

/// The keys of a capture that belong to publishing and consuming. The others belong to remote control and
/// to events.
fn keys_of_tasks(vector: &Value) -> BTreeMap<String, &Value> {
    let all = vector["keys"].as_object().unwrap();
    let others = ["pidbox", "celeryev", "binding_deadlines", "unacked_mutex", "celery-task-meta"];
    let own = all.iter().filter(|(name, _)| others.iter().all(|other| !name.contains(other)));
    own.map(|(name, value)| (name.clone(), value)).collect()
}

#[tokio::test]
async fn every_key_of_a_capture_is_written_the_same() {
    for name in [
        "redis_global_keyprefix",
        "redis_priority_steps_sep",
        "redis_fanout_prefix_custom",
        "redis_fanout_prefix_off",
        "redis_keys_mid_work",
    ] {
        let vector = vector(name);
        let wanted = keys_of_tasks(&vector);
        let database = fresh_database();
        let (mut redis, broker) = (database.connection(), open(&database.url, &options_of(&vector)));
        let mut consumer = consumer(&broker, "celery").await;
        let list_of = |kind: &'static str| wanted.iter().filter(move |(_, key)| key["type"] == kind);
        let (mut lists, mut claimed) = (Vec::new(), 0);
        // The message that is in flight in the capture is claimed first.
        for (key, lies) in list_of("hash") {
            for payload in lies["value"].as_object().unwrap().values() {
                let (element, _) = payload.as_str().unwrap().rsplit_once(", \"\", ").unwrap();
                broker.publish(vec![outgoing(&element[1..])]).await.unwrap();
                let batch = take(&mut consumer, 1).await;
                claimed += batch.len();
                let payloads: Vec<String> = redis.hvals(key).unwrap();
                let ours: BTreeSet<String> = payloads.iter().map(|payload| untagged(payload)).collect();
                assert!(ours.contains(&untagged(payload.as_str().unwrap())), "{name}: {ours:?}");
            }
        }
        for (key, lies) in list_of("list") {
            // The newest element is the first.
            for element in lies["value"].as_array().unwrap().iter().rev() {
                broker.publish(vec![outgoing(element.as_str().unwrap())]).await.unwrap();
            }
            let ours: Vec<String> = redis.lrange(key, 0, -1).unwrap();
            let ours: Vec<String> = ours.iter().map(|element| untagged(element)).collect();
            let theirs: Vec<String> =
                lies["value"].as_array().unwrap().iter().map(|element| untagged(element.as_str().unwrap())).collect();
            assert_eq!(ours, theirs, "{name}: {key:?}");
            lists.push(key);
        }
        for (key, lies) in list_of("set") {
            let ours: BTreeSet<String> = redis.smembers(key).unwrap();
            let theirs: BTreeSet<&str> =
                lies["value"].as_array().unwrap().iter().map(|m| m.as_str().unwrap()).collect();
            assert_eq!(ours.iter().map(String::as_str).collect::<BTreeSet<_>>(), theirs, "{name}: {key:?}");
        }
        for (key, _) in list_of("zset") {
            assert_eq!(redis.zcard::<_, usize>(key).unwrap(), claimed, "{name}: {key:?}");
        }
        assert!(claimed > 0 && !lists.is_empty(), "{name}");
        let all = keys(&mut redis, "*");
        let ours: BTreeSet<&String> = all.iter().filter(|key| !key.contains("_apium.")).collect();
        assert_eq!(ours, wanted.keys().collect(), "{name}: it has keys that kombu has not, or the other way round");
    }
}

#[tokio::test]
async fn a_fanout_is_published_on_kombus_channel() {
    let vector = vector("redis_broadcast");
    for (options, channel) in [
        (&[][..], text(&vector, "/redis_pubsub/0/key")),
        (&[("fanout_prefix", "/my-{db}.")], "/my-13.bcast_q/celery"),
        (&[("fanout_prefix", "false"), ("fanout_patterns", "false")], "bcast_q"),
        (&[("fanout_patterns", "false")], "/13.bcast_q"),
        (&[("global_keyprefix", "{app}:")], "{app}:/13.bcast_q/celery"),
    ] {
        let server = RedisServer::start();
        let mut redis = connection(&server);
        let broker = broker_with(&server.url(13), options);
        let mut topology = Topology::default();
        let mut queue = Queue::new("own");
        queue.exchange = "bcast_q".to_owned();
        queue.exchange_type = ExchangeType::Fanout;
        topology.queues.push(queue);
        broker.declare(&topology).await.unwrap();
        let mut listening = redis.as_pubsub();
        listening.psubscribe("*").unwrap();
        let raw = text(&vector, "/redis_pubsub/0/raw");
        broker.publish(vec![outgoing(raw)]).await.unwrap();
        let received = listening.get_message().unwrap();
        assert_eq!(received.get_channel_name(), channel);
        let received: String = received.get_payload().unwrap();
        // A message that is in Apium's own queues already is marked, so that its workers do not store it twice.
        let (before, after) = received.split_once("\"apium_stored\": null, ").expect("it is marked");
        assert_eq!(untagged(&format!("{before}{after}")), untagged(raw));
    }
}

#[tokio::test]
async fn what_a_consumer_requeues_is_what_kombu_requeues() {
    let vector = vector("redis_shutdown_restore");
    for restored in vector["restored_messages"].as_array().unwrap() {
        let (raw, list) = (text(restored, "/raw"), text(restored, "/key"));
        assert_eq!(text(restored, "/command"), "RPUSH");
        let (mut redis, broker) = fresh_broker();
        let before = unmark_redelivered(raw.as_bytes()).unwrap();
        assert!(before.len() < raw.len());
        let () = redis.lpush(list, &["behind"]).unwrap();
        let () = redis.rpush(list, before).unwrap();
        let mut consumer = consumer(&broker, "celery").await;
        take(&mut consumer, 1).await;
        soon("closing", consumer.close()).await.unwrap();
        assert_eq!(redis.lrange::<_, Vec<String>>(list, 0, -1).unwrap(), ["behind", raw]);
    }
}

#[tokio::test]
async fn the_names_of_the_unacked_keys_are_options() {
    let database = fresh_database();
    let names_of = [("unacked_key", "mine"), ("unacked_index_key", "mine.index"), ("global_keyprefix", "p:")];
    let (mut redis, broker) = (database.connection(), broker_with(&database.url, &names_of));
    let mut consumer = consumer(&broker, "q").await;
    broker.publish(vec![to("q", "m")]).await.unwrap();
    let batch = take(&mut consumer, 1).await;
    assert_eq!(redis.hlen::<_, usize>("p:mine").unwrap(), 1);
    assert_eq!(redis.zcard::<_, usize>("p:mine.index").unwrap(), 1);
    ack(&*consumer, &batch).await;
    let all = keys(&mut redis, "*");
    assert!(all.iter().all(|key| key.starts_with("p:")), "{all:?}");
    assert!(!all.iter().any(|key| key.contains("mine")), "{all:?}");
}

#[tokio::test]
async fn the_order_of_queues_is_an_option() {
    for (order, wanted) in [
        ("round_robin", ["b", "a", "c", "b", "a", "c", "b", "a", "c"]),
        ("priority", ["b", "b", "b", "a", "a", "a", "c", "c", "c"]),
        ("sorted", ["a", "a", "a", "b", "b", "b", "c", "c", "c"]),
    ] {
        let database = fresh_database();
        let broker = broker_with(&database.url, &[("queue_order_strategy", order)]);
        for queue in ["a", "b", "c"] {
            broker.publish((0..3).map(|_| to(queue, queue)).collect()).await.unwrap();
        }
        let mut consumer = soon("a consumer", broker.consume(spec(&["b", "a", "c"]))).await.unwrap();
        let mut order_of = Vec::new();
        while order_of.len() < wanted.len() {
            order_of.extend(names(&soon("a delivery", consumer.next(1)).await.unwrap()));
        }
        assert_eq!(order_of, wanted, "{order}");
    }
}

#[tokio::test]
async fn brokers_with_other_prefixes_do_not_meet() {
    let database = fresh_database();
    let [one, other] = ["one:", "other:"].map(|prefix| broker_with(&database.url, &[("global_keyprefix", prefix)]));
    one.publish(vec![to("q", "mine")]).await.unwrap();
    other.publish(vec![to("q", "yours")]).await.unwrap();
    finish(&mut consumer(&one, "q").await, &["mine"]).await;
    finish(&mut consumer(&other, "q").await, &["yours"]).await;
    broker(&database.url).publish(vec![to("q", "ours")]).await.unwrap();
    let mut redis: Connection = database.connection();
    assert_eq!(length(&mut redis, "q"), 1);
    let _: String = cmd("PING").query(&mut redis).unwrap();
}

#[tokio::test]
async fn publishing_to_a_queue_that_is_bound_is_one_command() {
    let server = RedisServer::start();
    let (mut redis, broker) = (connection(&server), broker(&server.url(0)));
    broker.publish(vec![to("q", "first")]).await.unwrap();
    let all = |redis: &mut Connection| (ran(redis, &["lpush"]), ran(redis, &[""]));
    let (pushed, commands) = all(&mut redis);
    for name in ["a", "b", "c"] {
        broker.publish_borrowed(&[to("q", name)]).await.unwrap();
    }
    // The others are the two questions of this test.
    assert_eq!(all(&mut redis), (pushed + 3, commands + 3 + 2));
    assert_eq!(length(&mut redis, "q"), 4);
}
