//! Messages in flight: Apium reclaims entries of Celery's workers only after the visibility timeout, and Celery can
//! read Apium's.

use std::time::{Duration, Instant};

use apium_peers::redis::{Commands, Connection, cmd};
use apium_peers::redis_server::fresh_database;
use apium_protocol::message::envelope::mark_redelivered;
use apium_transport::broker::broker::Broker as _;
use serde_json::Value;

use crate::brokers::{
    LEASE, ack, broker_with, consumer, finish, fresh_broker, keys, message, send, spec, take, to, with_priority,
};
use crate::kit::{soon, text, until, vector};

fn server_time(redis: &mut Connection) -> f64 {
    let (seconds, micros): (f64, f64) = cmd("TIME").query(redis).unwrap();
    seconds + micros / 1e6
}

/// Puts a message in flight, as kombu does: the entry of the tag, and the time of the delivery.
fn put_in_flight(redis: &mut Connection, tag: &str, payload: &str, now: f64) {
    let () = redis.hset("unacked", tag, payload).unwrap();
    let () = redis.zadd("unacked_index", tag, now).unwrap();
}

#[tokio::test]
async fn a_message_at_a_celery_worker_is_left_alone_until_the_visibility_timeout() {
    let vector = vector("redis_visibility_restore");
    let unacked = vector.pointer("/keys_before/unacked/value").unwrap().as_object().unwrap();
    let (tag, payload) = unacked.iter().next().unwrap();
    let payload = payload.as_str().unwrap();
    let envelope = payload.strip_prefix('[').unwrap().strip_suffix(", \"\", \"celery\"]").unwrap();
    let database = fresh_database();
    let mut redis = database.connection();
    let broker = broker_with(&database.url, &[("visibility_timeout", "1.5")]);
    let mut consumer = consumer(&broker, "celery").await;
    let began = Instant::now();
    let now = server_time(&mut redis);
    put_in_flight(&mut redis, tag, payload, now);
    let mut spec = spec(&["celery"]);
    spec.lease = LEASE / 2;
    // A worker of Apium that dies meanwhile makes no difference.
    let dead = soon("another", broker.consume(spec)).await.unwrap();
    drop(dead);
    let batch = take(&mut consumer, 1).await;
    assert!(began.elapsed() >= Duration::from_millis(1500), "{:?}", began.elapsed());
    assert!(batch[0].redelivered);
    assert_eq!(message(&batch[0]).headers.id.as_ref().unwrap().as_str(), "cafe0000-0000-4000-8000-000000000320");
    // It is marked as redelivered, as kombu does it.
    let entries: Vec<String> = redis.hvals("unacked").unwrap();
    let redelivered = String::from_utf8(mark_redelivered(envelope.as_bytes()).unwrap()).unwrap();
    assert_eq!(entries, [format!("[{redelivered}, \"\", \"celery\"]")]);
    ack(&*consumer, &batch).await;
    assert_eq!(keys(&mut redis, "unacked*"), Vec::<String>::new());
}

#[tokio::test]
async fn an_ack_of_celery_is_final() {
    let database = fresh_database();
    let mut redis = database.connection();
    let broker = broker_with(&database.url, &[("visibility_timeout", "0.5")]);
    let mut consumer = consumer(&broker, "q").await;
    send(&broker, "source", &["m"]).await;
    let element: String = redis.rpop("source", None).unwrap();
    let now = server_time(&mut redis);
    put_in_flight(&mut redis, "python", &format!("[{element}, \"\", \"q\"]"), now);
    let mut acked = apium_peers::redis::pipe();
    let () = acked.zrem("unacked_index", "python").ignore().hdel("unacked", "python").query(&mut redis).unwrap();
    // Longer than the timeout: until a message is reclaimed that was put in flight at the same time and not acked.
    put_in_flight(&mut redis, "other", &format!("[{element}, \"\", \"q\"]"), now);
    finish(&mut consumer, &["m"]).await;
    assert_eq!(keys(&mut redis, "unacked*"), Vec::<String>::new());
}

#[tokio::test]
async fn every_message_of_celery_goes_back_to_its_list() {
    let database = fresh_database();
    let mut redis = database.connection();
    let broker = broker_with(&database.url, &[("visibility_timeout", "0.5")]);
    broker.publish(vec![with_priority("source", "m", 0), with_priority("source", "n", 4)]).await.unwrap();
    let element: String = redis.rpop("source", None).unwrap();
    let urgent: String = redis.rpop("source\u{6}\u{16}3", None).unwrap();
    let () = redis.sadd("_kombu.binding.x", "key\u{6}\u{16}\u{6}\u{16}bound").unwrap();
    let old = server_time(&mut redis) - 100.0;
    put_in_flight(&mut redis, "1", &format!("[{element}, \"\", \"direct\"]"), old);
    put_in_flight(&mut redis, "2", &format!("[{urgent}, \"\", \"direct\"]"), old);
    put_in_flight(&mut redis, "3", &format!("[{element}, \"x\", \"key\"]"), old);
    put_in_flight(&mut redis, "4", &format!("[{element}, \"x\", \"unbound\"]"), old);
    // A tag without a message.
    let () = redis.zadd("unacked_index", "5", old).unwrap();
    let _attending = consumer(&broker, "elsewhere").await;
    until("all of them", || keys(&mut redis, "unacked*").is_empty()).await;
    let mut lengths = |list: &str| redis.llen::<_, usize>(list).unwrap();
    assert_eq!(["direct", "direct\u{6}\u{16}3", "bound", "unbound"].map(&mut lengths), [1, 1, 1, 1]);
}

#[tokio::test]
async fn more_old_entries_than_one_batch() {
    let database = fresh_database();
    let mut redis = database.connection();
    let broker = broker_with(&database.url, &[("visibility_timeout", "0.5")]);
    send(&broker, "source", &["m"]).await;
    let element: String = redis.rpop("source", None).unwrap();
    let old = server_time(&mut redis) - 100.0;
    // Before them are tags without a message, and entries that are no messages.
    for n in 0..500 {
        let () = redis.zadd("unacked_index", format!("gone {n}"), old - 1.0).unwrap();
        put_in_flight(&mut redis, &format!("odd {n}"), "{}", old - 1.0);
        put_in_flight(&mut redis, &n.to_string(), &format!("[{element}, \"\", \"q\"]"), old);
    }
    let _attending = consumer(&broker, "elsewhere").await;
    until("all of them", || redis.llen::<_, usize>("q").unwrap() == 500).await;
    // An entry that cannot be read stays for people to look at.
    assert_eq!(redis.hlen::<_, usize>("unacked").unwrap(), 500);
}

#[tokio::test]
async fn a_message_at_apium_is_an_entry_of_kombu() {
    let (mut redis, broker) = fresh_broker();
    let queue = "a \"queue\" ü\\";
    let mut urgent = to(queue, "m");
    urgent.message.properties.priority = Some(6);
    broker.publish(vec![to(queue, "n"), urgent]).await.unwrap();
    let mut consumer = consumer(&broker, queue).await;
    let batch = take(&mut consumer, 2).await;
    let entries: Vec<(String, String)> = redis.hgetall::<_, Vec<(String, String)>>("unacked").unwrap();
    let scores: Vec<(String, f64)> = redis.zrange_withscores("unacked_index", 0, -1).unwrap();
    assert_eq!((entries.len(), scores.len()), (2, 2));
    for (tag, payload) in &entries {
        // What kombu does: `message, exchange, routing_key = loads(payload)`.
        let read: Value = serde_json::from_str(payload).unwrap();
        let [envelope, exchange, routing_key] = read.as_array().unwrap().as_slice() else { panic!("{payload}") };
        assert_eq!((exchange.as_str(), routing_key.as_str()), (Some(""), Some(queue)));
        assert_eq!(text(envelope, "/properties/delivery_info/routing_key"), queue);
        assert!(["m", "n"].contains(&text(envelope, "/headers/id")));
        // The score is the present time in seconds.
        let (_, score) = scores.iter().find(|(other, _)| other == tag).unwrap();
        assert!((server_time(&mut redis) - score).abs() < 5.0, "{score}");
    }
    ack(&*consumer, &batch).await;
    assert_eq!(keys(&mut redis, "unacked*"), Vec::<String>::new());
}
