//! What the tests share: brokers on fresh vhosts, messages, a client without the driver, and waits with a limit.

use std::path::Path;
use std::time::Duration;

use apium_amqp::{AmqpBroker, AmqpDriver};
use apium_peers::rabbitmq_server::fresh_vhost;
use apium_protocol::message::message::Message;
use apium_transport::address::Address;
use apium_transport::broker::broker::Broker;
use apium_transport::broker::consumer::{ConsumeSpec, Consumer, Content, Delivery};
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::settlement::Receipt;
use apium_transport::clock::Clock;
use apium_transport::driver::DriverOptions;
use apium_transport::error::Result;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::Value;

/// Opens a broker at an address with these options.
pub(crate) fn open(url: &str, options: &[(&str, &str)]) -> Result<AmqpBroker> {
    let mut driver_options = DriverOptions::new(Clock::system());
    // All tests share one node, and a machine that does much else.
    let usual = [("native_delayed_delivery_queue_type", "classic"), ("connection_timeout", "30")];
    for (name, value) in usual.iter().chain(options) {
        driver_options = driver_options.option(*name, *value);
    }
    AmqpDriver::new().open_broker(Address::parse(url)?, &driver_options)
}

/// A broker on a vhost of the shared node, with its address.
pub(crate) fn fresh() -> (AmqpBroker, String) {
    let vhost = fresh_vhost();
    (open(&vhost.url, &[]).unwrap(), vhost.url)
}

/// A task message whose id and body are `name`.
pub(crate) fn message(name: &str) -> Message {
    let mut message = Message::default();
    message.headers.task = Some("tasks.case".into());
    message.headers.id = Some(name.into());
    message.properties.delivery_mode = Some(2);
    message.properties.correlation_id = Some(name.into());
    message.body = name.to_owned().into();
    message
}

pub(crate) fn to(queue: &str, name: &str) -> Outgoing {
    Outgoing::to_queue(queue, message(name))
}

pub(crate) async fn send(broker: &AmqpBroker, queue: &str, names: &[&str]) {
    broker.publish(names.iter().map(|name| to(queue, name)).collect()).await.unwrap();
}

pub(crate) async fn consumer(broker: &AmqpBroker, queue: &str, prefetch: usize) -> Box<dyn Consumer> {
    let mut spec = ConsumeSpec::new(vec![queue.to_owned()], "node@here".to_owned());
    spec.prefetch = prefetch;
    broker.consume(spec).await.unwrap()
}

/// Waits until so many deliveries have come. Errors of an outage are passed over.
pub(crate) async fn take(consumer: &mut Box<dyn Consumer>, count: usize) -> Vec<Delivery> {
    let mut all = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    while all.len() < count {
        match soon("a delivery", consumer.next(count - all.len())).await {
            Ok(batch) => all.extend(batch),
            Err(error) => {
                assert!(error.is_retryable(), "{error:#}");
                ticks.tick().await;
            }
        }
    }
    all
}

pub(crate) fn names(batch: &[Delivery]) -> Vec<String> {
    batch.iter().map(|delivery| String::from_utf8_lossy(&content(delivery).body).into_owned()).collect()
}

pub(crate) fn content(delivery: &Delivery) -> &Message {
    match &delivery.content {
        Content::Message(message) => message,
        Content::Unreadable { reason, .. } => panic!("a message came out unreadable: {reason}"),
    }
}

pub(crate) fn receipts(batch: &[Delivery]) -> Vec<Receipt> {
    batch.iter().map(|delivery| delivery.receipt.clone()).collect()
}

/// Waits for something that must happen, at most a minute.
pub(crate) async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Waits until a condition holds of which no event tells.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    soon(what, async {
        while !holds().await {
            ticks.tick().await;
        }
    })
    .await;
}

/// A channel of a client without the driver.
pub(crate) async fn plain(url: &str) -> (Connection, Channel) {
    // A single slash is the empty vhost to this client, so the address has the vhost of a test.
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    (connection, channel)
}

/// Publishes as another program does it.
pub(crate) async fn put(channel: &Channel, queue: &str, properties: BasicProperties, body: &[u8]) {
    let sent = channel.basic_publish("".into(), queue.into(), BasicPublishOptions::default(), body, properties);
    assert!(sent.await.unwrap().await.unwrap().is_ack());
}

/// Puts a message on a queue whose headers are none of a task.
pub(crate) async fn put_unreadable(url: &str, queue: &str, body: &[u8]) {
    let (connection, channel) = plain(url).await;
    let mut headers = FieldTable::default();
    headers.insert("stamps".into(), AMQPValue::LongString("no map".into()));
    channel.queue_declare(queue.into(), durable(), arguments()).await.unwrap();
    put(&channel, queue, BasicProperties::default().with_headers(headers), body).await;
    connection.close(200, "OK".into()).await.unwrap();
}

pub(crate) fn durable() -> lapin::options::QueueDeclareOptions {
    lapin::options::QueueDeclareOptions { durable: true, ..Default::default() }
}

/// The arguments of the queues of the conformance suite.
fn arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-priority".into(), AMQPValue::LongInt(10));
    arguments
}

/// A capture of Celery.
pub(crate) fn vector(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(format!("{name}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// How many messages a queue holds that can be delivered.
pub(crate) async fn depth(broker: &dyn Broker, queue: &str) -> u64 {
    broker.queues().unwrap().depth(queue).await.unwrap()
}
