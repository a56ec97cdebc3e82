//! What is declared: as Celery declares it, so that each finds what the other made.

use std::time::Duration;

use apium_peers::rabbitmq_server::{RabbitmqServer, fresh_vhost};
use apium_protocol::json::text::Json;
use apium_transport::broker::broker::Broker;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::topology::{ExchangeType, Queue, Topology};
use apium_transport::clock::Clock;
use lapin::ExchangeKind;
use lapin::options::ExchangeDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::Value;

use crate::kit::{consumer, depth, durable, fresh, message, names, open, plain, receipts, send, take, vector};

/// What a worker of Celery declares at its start, declared after the driver: nothing differs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_of_celery_finds_what_it_would_declare() {
    let (broker, url) = fresh();
    send(&broker, "celery", &["m"]).await;
    let (_connection, channel) = plain(&url).await;
    let captured = vector("amqp_topology_worker_start");
    let methods = captured.as_object().unwrap().values().filter_map(Value::as_array).flatten();
    let mut declared = 0;
    for method in methods {
        let args = &method["args"];
        let text = |name: &str| args[name].as_str().unwrap_or_default().to_owned();
        match method["method"].as_str() {
            Some("queue.declare") if text("queue") == "celery" => {
                let queue = text("queue");
                channel.queue_declare(queue.as_str().into(), durable(), FieldTable::default()).await.unwrap();
                declared += 1;
            }
            Some("exchange.declare") if text("exchange") == "celery" => {
                let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
                let exchange = text("exchange");
                let kind = ExchangeKind::Direct;
                channel.exchange_declare(exchange.as_str().into(), kind, options, FieldTable::default()).await.unwrap();
                declared += 1;
            }
            _ => {}
        }
    }
    assert!(declared >= 2, "the capture declares a queue and its exchange");
    // The binding of the queue to the exchange of its name.
    let through = Outgoing::new("celery".into(), "celery".into(), message("through"));
    broker.publish(vec![through]).await.unwrap();
    let mut reader = consumer(&broker, "celery", 0).await;
    assert_eq!(names(&take(&mut reader, 2).await), ["m", "through"]);
}

/// The arguments of a queue reach the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arguments_reach_the_server() {
    let vhost = fresh_vhost();
    let broker = open(&vhost.url, &[("queue_type", "quorum")]).unwrap();
    let mut classic = Queue::new("classic").max_priority(5);
    for (name, json) in [("x-queue-type", "\"classic\""), ("x-message-ttl", "60000"), ("x-expires", "2147483648")] {
        classic.arguments.insert(name.to_owned(), Json::from_text(json).unwrap());
    }
    classic.arguments.insert("x-dead-letter-exchange".to_owned(), Json::from_text("\"amq.fanout\"").unwrap());
    let quorum = Queue::new("quorum").max_priority(5);
    broker.declare(&Topology::new(vec![classic, quorum])).await.unwrap();
    let listed =
        RabbitmqServer::shared().ctl(&["list_queues", "--vhost", &vhost.name, "name", "arguments", "--formatter=json"]);
    let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
    let shown = |name: &str| listed.iter().find(|queue| queue["name"] == name).unwrap()["arguments"].to_string();
    for part in ["x-max-priority", "5", "60000", "2147483648", "amq.fanout"] {
        assert!(shown("classic").contains(part), "{}", shown("classic"));
    }
    assert!(shown("quorum").contains("quorum") && !shown("quorum").contains("priority"), "{}", shown("quorum"));
}

/// On a quorum queue messages are published, consumed, requeued and acked as on a classic one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quorum_queues_work_the_same() {
    let vhost = fresh_vhost();
    let broker = open(&vhost.url, &[("queue_type", "quorum")]).unwrap();
    send(&broker, "q", &["a", "b", "c"]).await;
    let mut reader = consumer(&broker, "q", 2).await;
    let got = take(&mut reader, 2).await;
    assert_eq!(names(&got), ["a", "b"]);
    reader.acker().ack(receipts(&got[..1])).await.unwrap();
    reader.close().await.unwrap();
    let mut reader = consumer(&broker, "q", 0).await;
    let mut all = names(&take(&mut reader, 2).await);
    all.sort();
    assert_eq!(all, ["b", "c"]);
}

/// A queue of another program is used as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_there_is_taken_as_it_is() {
    let (broker, url) = fresh();
    let (_connection, channel) = plain(&url).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(10));
    channel.queue_declare("theirs".into(), <_>::default(), arguments).await.unwrap();
    send(&broker, "theirs", &["m"]).await;
    let mut reader = consumer(&broker, "theirs", 0).await;
    assert_eq!(names(&take(&mut reader, 1).await), ["m"]);
}

/// A queue that was deleted meanwhile is made again, by who publishes and by who consumes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_queue_is_made_again() {
    let (broker, url) = fresh();
    let (_connection, channel) = plain(&url).await;
    send(&broker, "q", &["first"]).await;
    channel.queue_delete("q".into(), <_>::default()).await.unwrap();
    send(&broker, "q", &["second"]).await;
    let mut reader = consumer(&broker, "q", 0).await;
    assert_eq!(names(&take(&mut reader, 1).await), ["second"]);
    channel.queue_delete("q".into(), <_>::default()).await.unwrap();
    let (got, ()) = tokio::join!(take(&mut reader, 1), send(&broker, "q", &["third"]));
    assert_eq!(names(&got), ["third"]);
}

/// A topic exchange of a queue that the program names gets delayed messages by Celery's bindings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_queue_is_bound() {
    let (broker, _) = fresh();
    let queue = Queue::new("media").exchange("t", ExchangeType::Topic).routing_key("media.#");
    broker.declare(&Topology::new(vec![queue])).await.unwrap();
    broker.publish(vec![Outgoing::new("t".into(), "media.video".into(), message("m"))]).await.unwrap();
    let mut reader = consumer(&broker, "media", 0).await;
    assert_eq!(names(&take(&mut reader, 1).await), ["m"]);
}

/// What is delayed on a headers exchange goes to the queues whose headers it has. Nothing comes back by a key that no
/// queue has, so that is not lost in the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_headers_exchange_delays() {
    let (broker, _) = fresh();
    let bound = |name: &str, format: &str| {
        let mut queue = Queue::new(name).exchange("h", ExchangeType::Headers);
        queue.binding_arguments.insert("format".to_owned(), Json::from_serialize(format).unwrap());
        queue
    };
    broker.declare(&Topology::new(vec![bound("pdf", "pdf"), bound("text", "text")])).await.unwrap();
    let send = async |key: &str, name: &str, after: Duration| {
        let mut out = Outgoing::new("h".into(), key.into(), message(name));
        out.message.headers.extra.insert("format".to_owned(), Json::from_serialize("pdf").unwrap());
        let eta = Clock::system().now() + after;
        out.eta = Some(eta);
        broker.publish(vec![out]).await.unwrap();
        eta
    };
    let mut reader = consumer(&broker, "pdf", 0).await;
    send("other", "sent at once: a worker lets it wait", Duration::from_secs(3600)).await;
    assert_eq!(names(&take(&mut reader, 1).await), ["sent at once: a worker lets it wait"]);
    let eta = send("pdf", "delayed in the server", Duration::from_millis(700)).await;
    assert_eq!(names(&take(&mut reader, 1).await), ["delayed in the server"]);
    assert!(Clock::system().now() >= eta);
    assert_eq!(depth(&broker, "text").await, 0);
}
