//! What the server refuses, and addresses at which there is none: each error names what is wrong and what to do, and no
//! secret.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use apium_peers::port;
use apium_peers::rabbitmq_server::{RabbitmqServer, fresh_vhost};
use apium_transport::broker::broker::Broker;
use apium_transport::broker::consumer::Content;
use apium_transport::broker::dead_set::{DeadReason, DeadSet};
use apium_transport::broker::outgoing::{Outgoing, unpublished};
use apium_transport::broker::settlement::Disposition;
use apium_transport::broker::topology::{ExchangeType, Queue, Topology};
use apium_transport::error::{Error, ErrorKind};
use lapin::BasicProperties;
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};

use crate::kit::{consumer, content, durable, fresh, message, open, plain, put, receipts, send, take, to};

async fn refused(url: &str, options: &[(&str, &str)]) -> Error {
    let broker = open(url, options).unwrap();
    broker.publish(vec![to("q", "m")]).await.expect_err("it was published")
}

fn assert_says(error: &Error, kind: ErrorKind, parts: &[&str]) {
    let text = format!("{error:#}");
    assert_eq!(error.kind(), kind, "{text}");
    for part in parts {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
    assert!(!format!("{text}{error:?}").contains("SECRET"), "{text}");
    assert!(!text.contains('\n'), "{text:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_named_without_it() {
    let vhost = fresh_vhost();
    let url = vhost.url.replace("guest:guest@", "guest:SECRET@");
    let error = refused(&url, &[]).await;
    assert_says(&error, ErrorKind::Refused, &["127.0.0.1", "\"guest\"", "user name or password are wrong"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_vhost_is_named() {
    let error = refused(&RabbitmqServer::shared().url("not-there"), &[]).await;
    assert_says(&error, ErrorKind::Refused, &["not-there", "rabbitmqctl add_vhost"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_without_a_server_is_a_lost_connection() {
    let free = port::free();
    let error = refused(&format!("amqp://u:SECRET@127.0.0.1:{free}/v"), &[]).await;
    assert_says(&error, ErrorKind::Connection, &[&free.to_string()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_costs_the_timeout_and_no_more() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let began = Instant::now();
    let error = refused(&format!("amqp://u:SECRET@127.0.0.1:{port}/v"), &[("connection_timeout", "0.5")]).await;
    assert_says(&error, ErrorKind::Timeout, &["500ms", &port.to_string()]);
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_server_of_a_list_is_taken() {
    let vhost = fresh_vhost();
    let free = port::free();
    let broker = open(&format!("amqp://guest:guest@127.0.0.1:{free}/{};{}", vhost.name, vhost.url), &[]).unwrap();
    send(&broker, "q", &["m"]).await;
    assert!(broker.health().is_green(), "{:?}", broker.health());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_of_another_type_is_an_error_with_both_sides() {
    let (broker, url) = fresh();
    let (_connection, channel) = plain(&url).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-priority".into(), AMQPValue::LongInt(5));
    channel.queue_declare("q".into(), durable(), arguments).await.unwrap();
    let error = broker.declare(&Topology::new(vec![Queue::new("q")])).await.unwrap_err();
    assert_says(&error, ErrorKind::Refused, &["\"q\"", "x-max-priority", "received none but current is", "delete it"]);
    // It can be used as it is by who does not declare it.
    let (other, _) = (open(&url, &[]).unwrap(), ());
    send(&other, "q", &["m"]).await;
    let exchange = Queue::new("r").exchange("x", ExchangeType::Topic);
    broker.declare(&Topology::new(vec![exchange])).await.unwrap();
    let other_kind = Queue::new("s").exchange("x", ExchangeType::Fanout);
    let error = open(&url, &[]).unwrap().declare(&Topology::new(vec![other_kind])).await.unwrap_err();
    assert_says(&error, ErrorKind::Refused, &["\"x\"", "received 'fanout' but current is 'topic'"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_of_another_connection_is_named() {
    let (broker, url) = fresh();
    let (_connection, channel) = plain(&url).await;
    let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare("own".into(), exclusive, FieldTable::default()).await.unwrap();
    let error = broker.publish(vec![to("own", "m")]).await.unwrap_err();
    assert_says(&error, ErrorKind::Refused, &["own", "another connection"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_of_a_batch_is_told() {
    let (broker, _) = fresh();
    let direct = Queue::new("q").exchange("x", ExchangeType::Direct).routing_key("key");
    broker.declare(&Topology::new(vec![direct])).await.unwrap();
    let through = |key: &str| Outgoing::new("x".into(), key.into(), message(key));
    let batch = vec![through("key"), through("wrong"), through("key"), through("other")];
    let error = broker.publish(batch).await.unwrap_err();
    assert_says(&error, ErrorKind::NotFound, &["2 of 4", "wrong"]);
    assert_eq!(unpublished(&error), Some(&[1, 3][..]));
    let queues = broker.queues().unwrap();
    assert_eq!(queues.depth("q").await.unwrap(), 2);
    // One message alone has its own error.
    let error = broker.publish(vec![through("wrong")]).await.unwrap_err();
    assert_says(&error, ErrorKind::NotFound, &["\"x\"", "\"wrong\""]);
    assert_eq!(unpublished(&error), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fits_no_frame_is_refused_before_it_is_sent() {
    let (broker, _) = fresh();
    let mut large = message("large");
    large.headers.argsrepr = Some("x".repeat(200_000));
    let error = broker.publish(vec![Outgoing::to_queue("q", large)]).await.unwrap_err();
    assert_says(&error, ErrorKind::TooLarge, &["headers"]);
    let mut long = message("long");
    long.properties.correlation_id = Some("i".repeat(300).into());
    let error = broker.publish(vec![Outgoing::to_queue("q", long)]).await.unwrap_err();
    assert_says(&error, ErrorKind::TooLarge, &["correlation_id", "300 bytes"]);
    let error = broker.publish(vec![to(&"q".repeat(300), "m")]).await.unwrap_err();
    assert_says(&error, ErrorKind::TooLarge, &["name of a queue", "300 bytes"]);
    send(&broker, "q", &["still works"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_other_programs_are_delivered_and_dead_lettered_whole() {
    let (broker, url) = fresh();
    let (_connection, channel) = plain(&url).await;
    channel.queue_declare("q".into(), durable(), FieldTable::default()).await.unwrap();
    let protocol_1 = br#"{"task": "t", "id": "1", "args": [], "kwargs": {}}"#;
    let json = BasicProperties::default().with_content_type("application/json".into());
    put(&channel, "q", BasicProperties::default(), b"").await;
    put(&channel, "q", json.clone().with_content_encoding("utf-8".into()), protocol_1).await;
    put(&channel, "q", json.with_content_encoding("latin-1".into()), b"\xe4").await;
    put(&channel, "q", BasicProperties::default().with_content_type("image/png".into()), b"\x89PNG\x00").await;
    let mut reader = consumer(&broker, "q", 0).await;
    let got = take(&mut reader, 4).await;
    let bodies: Vec<&[u8]> = got.iter().map(|delivery| &*content(delivery).body).collect();
    assert_eq!(bodies, [&b""[..], protocol_1, b"\xe4", b"\x89PNG\x00"]);
    let reason = Disposition::Dead(DeadReason::new("content-type", "not a task\nINFO forged".to_owned()));
    let dead = receipts(&got).into_iter().map(|receipt| (receipt, reason.clone())).collect();
    reader.acker().reject(dead).await.unwrap();
    let letters = broker.list(0, 10).await.unwrap();
    assert_eq!(letters.len(), 4);
    for (letter, delivery) in letters.iter().zip(&got) {
        assert_eq!(letter.message.as_ref(), Some(content(delivery)));
        assert_eq!((letter.queue.as_str(), letter.reason.as_str()), ("q", "not a task\nINFO forged"));
    }
    assert!(matches!(got[0].content, Content::Message(_)));
}
