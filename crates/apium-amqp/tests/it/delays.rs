//! Delayed messages: they wait in the server, by Celery's exchanges and queues.

use std::time::Duration;

use apium_peers::rabbitmq_server::{RabbitmqServer, fresh_vhost};
use apium_transport::broker::broker::Broker;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::settlement::Disposition;
use apium_transport::broker::topology::{ExchangeType, Queue, Topology};
use apium_transport::clock::Clock;
use jiff::Timestamp;
use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use serde_json::Value;

use crate::kit::{consumer, content, fresh, message, names, open, plain, receipts, send, take, to, until, vector};

fn now() -> Timestamp {
    Clock::system().now()
}

fn after(span: Duration) -> Option<Timestamp> {
    now().checked_add(span).ok()
}

/// The digits of Celery's routing key, then the target.
fn celerys_key(seconds: u64, target: &str) -> String {
    let digits: Vec<String> = (0..28).rev().map(|level| (seconds >> level & 1).to_string()).collect();
    format!("{}.{target}", digits.join("."))
}

/// Everything that a worker of Celery declares for delays is there, with the same arguments.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queues_of_delays_are_celerys() {
    let vhost = fresh_vhost();
    let broker = open(&vhost.url, &[("native_delayed_delivery_queue_type", "quorum")]).unwrap();
    broker.publish(vec![to("q", "m").at(after(Duration::from_secs(3600)))]).await.unwrap();
    let (_connection, channel) = plain(&vhost.url).await;
    let capture = vector("amqp_quorum_topology");
    let methods = capture.as_object().unwrap().values().filter_map(Value::as_array).flatten();
    let mut compared = 0;
    for method in methods.filter(|method| method["method"] == "queue.declare") {
        let name = method["args"]["queue"].as_str().unwrap();
        if !name.starts_with("celery_delayed_") {
            continue;
        }
        let json = apium_protocol::json::text::Json::from_text(&method["args"]["arguments"].to_string()).unwrap();
        let mut arguments = lapin::types::FieldTable::default();
        let apium_protocol::value::value::Value::Map(entries) = json.to_value().unwrap() else { panic!("no map") };
        for (name, value) in entries {
            let value = match (value.as_i64(), value.as_str()) {
                (Some(number), _) => lapin::types::AMQPValue::LongLongInt(number),
                (_, Some(text)) => lapin::types::AMQPValue::LongString(text.into()),
                _ => panic!("{name}"),
            };
            arguments.insert(name.as_str().into(), value);
        }
        channel.queue_declare(name.into(), crate::kit::durable(), arguments).await.unwrap();
        compared += 1;
    }
    assert_eq!(compared, 28);
    let listed = RabbitmqServer::shared().ctl(&["list_bindings", "--vhost", &vhost.name, "--formatter=json"]);
    let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
    for method in capture.as_object().unwrap().values().filter_map(Value::as_array).flatten() {
        let args = &method["args"];
        let (source, destination) = match method["method"].as_str() {
            Some("exchange.bind") => (&args["source"], &args["destination"]),
            Some("queue.bind") => (&args["exchange"], &args["queue"]),
            _ => continue,
        };
        if !source.as_str().unwrap().starts_with("celery_delayed_") || source == "celery_delayed_delivery" {
            continue;
        }
        let is_it = |binding: &Value| {
            binding["source_name"] == *source
                && binding["destination_name"] == *destination
                && binding["routing_key"] == args["routing_key"]
        };
        assert!(listed.iter().any(is_it), "there is no binding like {method}");
    }
}

/// What a client of Celery delays on a topic exchange reaches its queue here, as a message of that queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_celery_delays_is_delivered() {
    let (broker, url) = fresh();
    let queue = Queue::new("celery").exchange("peer_topic", ExchangeType::Topic);
    broker.declare(&Topology::new(vec![queue])).await.unwrap();
    // The queues of delays are there once something was delayed here.
    broker.publish(vec![to("other", "m").at(after(Duration::from_secs(3600)))]).await.unwrap();
    let (_connection, channel) = plain(&url).await;
    let properties = BasicProperties::default().with_priority(3);
    let key = celerys_key(1, "celery");
    let options = BasicPublishOptions::default();
    let sent = channel.basic_publish("celery_delayed_27".into(), key.as_str().into(), options, b"body", properties);
    assert!(sent.await.unwrap().await.unwrap().is_ack());
    let mut reader = consumer(&broker, "celery", 0).await;
    let got = take(&mut reader, 1).await;
    assert_eq!((&*got[0].exchange, &*got[0].routing_key, &*content(&got[0]).body), ("", "celery", &b"body"[..]));
    assert!(content(&got[0]).headers.extra.is_empty(), "{:?}", content(&got[0]).headers.extra);
    assert!(!got[0].redelivered);
}

/// A message is delayed on a topic exchange by Celery's routing key, and reaches each queue that matches once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_exchange_delays() {
    let (broker, _) = fresh();
    let queue = |name: &str, key: &str| Queue::new(name).exchange("t", ExchangeType::Topic).routing_key(key);
    broker.declare(&Topology::new(vec![queue("a", "x.*"), queue("b", "x.y"), queue("c", "z")])).await.unwrap();
    let out = Outgoing::new("t".into(), "x.y".into(), message("m")).at(after(Duration::from_millis(300)));
    broker.publish(vec![out]).await.unwrap();
    for name in ["a", "b"] {
        let mut reader = consumer(&broker, name, 0).await;
        let got = take(&mut reader, 1).await;
        assert_eq!(names(&got), ["m"]);
        reader.acker().ack(receipts(&got)).await.unwrap();
        reader.close().await.unwrap();
    }
    for name in ["a", "b", "c"] {
        assert_eq!(broker.queues().unwrap().depth(name).await.unwrap(), 0, "{name}");
    }
}

/// A queue whose name ends like another's gets only its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_end_alike_are_kept_apart() {
    let (broker, _) = fresh();
    let eta = after(Duration::from_millis(100));
    broker
        .publish(vec![to("b", "1").at(eta), to("a.b", "2").at(eta), to("#", "3").at(eta), to("*", "4").at(eta)])
        .await
        .unwrap();
    for (name, wanted) in [("b", "1"), ("a.b", "2"), ("#", "3"), ("*", "4")] {
        let mut reader = consumer(&broker, name, 0).await;
        assert_eq!(names(&take(&mut reader, 1).await), [wanted]);
        assert_eq!(broker.queues().unwrap().depth(name).await.unwrap(), 0, "{name}");
    }
}

/// An expiration that is shorter than the delay does not bring the message early.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expiration_does_not_shorten_a_delay() {
    let (broker, _) = fresh();
    let mut out = to("q", "m").at(after(Duration::from_millis(1500)));
    out.message.properties.expiration = Some("1".to_owned());
    let due = out.eta.unwrap();
    broker.publish(vec![out]).await.unwrap();
    let mut reader = consumer(&broker, "q", 0).await;
    assert_eq!(names(&take(&mut reader, 1).await), ["m"]);
    assert!(now() >= due);
}

/// An eta that a worker finds is waited for in the server: the delivery is settled, and the consumer holds nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_received_eta_is_not_held_unacked() {
    let (broker, _) = fresh();
    send(&broker, "q", &["m"]).await;
    let mut reader = consumer(&broker, "q", 1).await;
    let got = take(&mut reader, 1).await;
    let due = after(Duration::from_millis(700)).unwrap();
    reader.acker().reject(vec![(receipts(&got)[0].clone(), Disposition::Delay(due))]).await.unwrap();
    // With a prefetch of one it takes the next message at once.
    send(&broker, "q", &["next"]).await;
    let next = take(&mut reader, 1).await;
    assert_eq!(names(&next), ["next"]);
    reader.acker().ack(receipts(&next)).await.unwrap();
    assert_eq!(names(&take(&mut reader, 1).await), ["m"]);
    assert!(now() >= due);
    until("nothing waits", async || broker.queues().unwrap().depth("q").await.unwrap() == 0).await;
}
