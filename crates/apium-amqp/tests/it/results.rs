//! The result backend `rpc://`: as Celery's, message for message.

use apium_amqp::AmqpDriver;
use apium_peers::rabbitmq_server::fresh_vhost;
use apium_protocol::json::text::Json;
use apium_protocol::result::document::ResultDocument;
use apium_protocol::result::state::State;
use apium_transport::address::Address;
use apium_transport::backend::backend::{ResultBackend, ResultRecord, StoreResult};
use apium_transport::broker::broker::Broker;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::clock::Clock;
use apium_transport::driver::DriverOptions;
use apium_transport::error::ErrorKind;
use bytes::Bytes;
use futures_util::StreamExt as _;
use lapin::options::BasicGetOptions;
use lapin::types::FieldTable;

use crate::kit::{durable, message, plain, put, soon, vector};

fn options() -> DriverOptions {
    DriverOptions::new(Clock::system())
}

fn rpc() -> Address {
    Address::parse("rpc://").unwrap()
}

/// A reply as Celery captured it, and the document in it.
fn captured(name: &str) -> Vec<(serde_json::Value, ResultDocument)> {
    let replies = vector(name)["replies"].as_array().unwrap().clone();
    let read = |reply: serde_json::Value| {
        let body = Bytes::from(reply["body"]["utf8"].as_str().unwrap().to_owned());
        let document = ResultDocument::from_json(&body).unwrap();
        (reply, document)
    };
    replies.into_iter().map(read).collect()
}

/// The documents of Celery, sent by this backend, are Celery's replies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_is_celerys() {
    let vhost = fresh_vhost();
    let driver = AmqpDriver::new();
    let _broker = driver.open_broker(Address::parse(&vhost.url).unwrap(), &options()).unwrap();
    let backend = driver.open_backend(rpc(), &options()).unwrap();
    let (_connection, channel) = plain(&vhost.url).await;
    channel.queue_declare("caller".into(), durable(), FieldTable::default()).await.unwrap();
    for name in ["rpc_success", "rpc_failure", "rpc_progress"] {
        for (reply, document) in captured(name) {
            let record = ResultRecord::new(document).replying_to(Some("caller".into()));
            assert_eq!(backend.store(vec![record]).await.unwrap(), [StoreResult::Written]);
            let got = channel.basic_get("caller".into(), BasicGetOptions { no_ack: true }).await.unwrap().unwrap();
            let properties = &got.delivery.properties;
            let wanted = &reply["properties"];
            assert_eq!(properties.content_type().as_ref().unwrap().as_str(), wanted["content_type"]);
            assert_eq!(properties.content_encoding().as_ref().unwrap().as_str(), wanted["content_encoding"]);
            assert_eq!(properties.correlation_id().as_ref().unwrap().as_str(), wanted["correlation_id"]);
            assert_eq!(u64::from(properties.delivery_mode().unwrap()), wanted["delivery_mode"]);
            assert_eq!(u64::from(properties.priority().unwrap()), wanted["priority"]);
            assert_eq!(properties.headers(), &Some(FieldTable::default()));
            let body: serde_json::Value = serde_json::from_slice(&got.delivery.data).unwrap();
            let wanted: serde_json::Value = serde_json::from_str(reply["body"]["utf8"].as_str().unwrap()).unwrap();
            assert_eq!(body, wanted, "{name}");
        }
    }
}

/// A result that Celery sends is there for who asks later, and every state of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_of_celery_is_read() {
    let vhost = fresh_vhost();
    let driver = AmqpDriver::new();
    let broker = driver.open_broker(Address::parse(&vhost.url).unwrap(), &options()).unwrap();
    let backend = driver.open_backend(rpc(), &options()).unwrap();
    // The queue is there before the call is published.
    let reply_to = backend.reply_to().unwrap();
    let mut call = message("call");
    call.properties.reply_to = Some(reply_to.clone());
    broker.publish(vec![Outgoing::to_queue("q", call)]).await.unwrap();
    let (_connection, channel) = plain(&vhost.url).await;
    let replies = captured("rpc_progress");
    for (reply, _) in &replies {
        let body = reply["body"]["utf8"].as_str().unwrap();
        put(&channel, &reply_to, lapin::BasicProperties::default(), body.as_bytes()).await;
    }
    let id = replies[0].1.task_id.clone();
    let stream = backend.watch(vec![id]).await.unwrap();
    let seen: Vec<State> = soon("all states", stream.map(|state| state.unwrap().state).collect()).await;
    let wanted: Vec<State> = replies.iter().map(|(_, document)| document.state.clone()).collect();
    assert_eq!(seen, wanted);
    assert!(seen.last().unwrap().is_ready());
    backend.close().await.unwrap();
    let gone = channel.queue_declare(
        reply_to.as_ref().into(),
        lapin::options::QueueDeclareOptions { passive: true, ..Default::default() },
        FieldTable::default(),
    );
    assert!(gone.await.is_err(), "the queue goes with its backend");
}

/// A result without somebody who waits is refused, and nothing is stored for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits() {
    let vhost = fresh_vhost();
    let url = vhost.url.replace("amqp://", "rpc://");
    let backend = AmqpDriver::new().open_backend(Address::parse(&url).unwrap(), &options()).unwrap();
    let document = ResultDocument::new("t", State::Success, Json::NULL);
    let records =
        vec![ResultRecord::new(document.clone()), ResultRecord::new(document).replying_to(Some("gone".into()))];
    assert_eq!(backend.store(records).await.unwrap(), [StoreResult::Refused, StoreResult::Refused]);
    assert!(backend.stored().is_none() && backend.chords().is_none() && backend.groups().is_none());
}

/// Without a broker of this driver there is no server.
#[tokio::test]
async fn rpc_alone_needs_a_broker() {
    let backend = AmqpDriver::new().open_backend(rpc(), &options()).unwrap();
    let error = backend.watch(vec!["t".into()]).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Address);
    assert!(error.to_string().contains("rpc://"), "{error}");
}
