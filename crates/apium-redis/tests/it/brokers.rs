//! What tests of brokers share: opening, publishing by name, receiving a number of messages, looking into the server.

use std::time::Duration;

use apium_peers::redis::{Commands as _, Connection, cmd};
use apium_peers::redis_server::{RedisServer, fresh_database};
use apium_protocol::message::message::Message;
use apium_protocol::message::task_id::TaskId;
use apium_redis::{RedisBroker, RedisDriver};
use apium_transport::address::Address;
use apium_transport::broker::broker::Broker as _;
use apium_transport::broker::consumer::{ConsumeSpec, Consumer, Content, Delivery};
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::settlement::Receipt;
use apium_transport::clock::Clock;
use apium_transport::driver::DriverOptions;
use apium_transport::error::Result;

use crate::kit::{soon, until};

/// The lease of the consumers of these tests.
pub(crate) const LEASE: Duration = Duration::from_millis(600);

pub(crate) fn options(pairs: &[(&str, &str)]) -> DriverOptions {
    let mut options = DriverOptions::new(Clock::system());
    options.extra = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    options
}

/// Opens a broker.
pub(crate) fn open(url: &str, pairs: &[(&str, &str)]) -> Result<RedisBroker> {
    RedisDriver::new().open_broker(Address::parse(url)?, &options(pairs))
}

pub(crate) fn broker_with(url: &str, pairs: &[(&str, &str)]) -> RedisBroker {
    open(url, pairs).unwrap()
}

pub(crate) fn broker(url: &str) -> RedisBroker {
    broker_with(url, &[])
}

/// The address of a server for a user who may not let it track lists.
pub(crate) fn without_tracking(server: &RedisServer) -> String {
    let mut allow = cmd("ACL");
    allow.arg("SETUSER").arg("old").arg("on").arg(">pw").arg("~*").arg("&*").arg("+@all").arg("-client|tracking");
    let () = allow.query(&mut crate::kit::connection(server)).unwrap();
    format!("redis://old:pw@127.0.0.1:{}/0", server.port())
}

/// A broker with a short `socket_timeout`.
pub(crate) fn with_short_timeout(url: &str) -> RedisBroker {
    broker_with(url, &[("socket_timeout", "0.5")])
}

/// A database of the shared server, and a broker on it.
pub(crate) fn fresh_broker() -> (Connection, RedisBroker) {
    let database = fresh_database();
    (database.connection(), broker(&database.url))
}

/// A consumer of these queues without limits.
pub(crate) fn spec(queues: &[&str]) -> ConsumeSpec {
    let mut spec = ConsumeSpec::new(queues.iter().map(|queue| (*queue).to_owned()).collect(), "w@test".to_owned());
    spec.prefetch = 0;
    spec.lease = LEASE;
    spec
}

pub(crate) async fn consumer(broker: &RedisBroker, queue: &str) -> Box<dyn Consumer> {
    soon("a consumer", broker.consume(spec(&[queue]))).await.unwrap()
}

/// A message to a queue. Its id and body are `name`.
pub(crate) fn to(queue: &str, name: &str) -> Outgoing {
    let mut message = Message::default();
    message.headers.task = Some("tasks.case".into());
    message.headers.id = Some(TaskId::from(name));
    message.body = name.to_owned().into();
    Outgoing::to_queue(queue, message)
}

pub(crate) fn with_priority(queue: &str, name: &str, priority: u8) -> Outgoing {
    let mut out = to(queue, name);
    out.message.properties.priority = Some(priority);
    out
}

pub(crate) async fn send(broker: &RedisBroker, queue: &str, names: &[&str]) {
    let batch = names.iter().map(|name| to(queue, name)).collect();
    soon("publishing", broker.publish(batch)).await.unwrap();
}

/// Does it until it succeeds. The errors before that must be retryable.
pub(crate) async fn in_the_end(what: &str, attempt: impl AsyncFn() -> Result<()>) {
    soon(what, async {
        while let Err(error) = attempt().await {
            assert!(error.is_retryable(), "{error}");
        }
    })
    .await;
}

/// Publishes until it succeeds.
pub(crate) async fn send_in_the_end(broker: &RedisBroker, queue: &str, name: &str) {
    in_the_end("publishing in the end", async || broker.publish(vec![to(queue, name)]).await).await;
}

/// Receives `count` deliveries. Retryable errors are retried.
pub(crate) async fn take(consumer: &mut Box<dyn Consumer>, count: usize) -> Vec<Delivery> {
    let mut all = Vec::new();
    soon("a delivery", async {
        while all.len() < count {
            match consumer.next(count - all.len()).await {
                Ok(batch) => all.extend(batch),
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
    })
    .await;
    all
}

/// The message of a delivery.
pub(crate) fn message(delivery: &Delivery) -> &Message {
    match &delivery.content {
        Content::Message(message) => message,
        Content::Unreadable { reason, .. } => panic!("a message came out unreadable: {reason}"),
    }
}

pub(crate) fn names(batch: &[Delivery]) -> Vec<String> {
    batch.iter().map(|delivery| String::from_utf8_lossy(&message(delivery).body).into_owned()).collect()
}

pub(crate) fn receipts(batch: &[Delivery]) -> Vec<Receipt> {
    batch.iter().map(|delivery| delivery.receipt.clone()).collect()
}

/// Acks deliveries. Retryable errors are retried.
pub(crate) async fn ack(consumer: &dyn Consumer, batch: &[Delivery]) {
    in_the_end("an ack", async || consumer.acker().ack(receipts(batch)).await).await;
}

/// Receives and acks the messages that must be there, in this order.
pub(crate) async fn finish(consumer: &mut Box<dyn Consumer>, wanted: &[&str]) {
    let batch = take(consumer, wanted.len()).await;
    assert_eq!(names(&batch), wanted);
    ack(&**consumer, &batch).await;
}

/// Polls a consumer until `count` connections wait in the server. No message may come.
pub(crate) async fn idle(consumer: &mut Box<dyn Consumer>, redis: &mut Connection, count: usize) {
    let nothing = async {
        loop {
            match consumer.next(100).await {
                Ok(batch) => panic!("it took {batch:?}"),
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
    };
    tokio::select! {
        () = nothing => {}
        () = until("all waits", || blocked(redis) == count) => {}
    }
}

/// How many connections wait for a message.
pub(crate) fn blocked(redis: &mut Connection) -> usize {
    let list: String = cmd("CLIENT").arg("LIST").query(redis).unwrap();
    list.lines().filter(|line| line.contains(" cmd=blmove ") && line.contains(" flags=b")).count()
}

/// The names of keys that match a pattern.
pub(crate) fn keys(redis: &mut Connection, pattern: &str) -> Vec<String> {
    let mut keys: Vec<String> = redis.keys(pattern).unwrap();
    keys.sort();
    keys
}

/// The handoff lists to which waits have moved messages that are not claimed.
pub(crate) fn moved(redis: &mut Connection) -> Vec<String> {
    let mut handoffs = keys(redis, "_apium.taken.*");
    // A handoff list of a consumer that was reclaimed is a text.
    handoffs.retain(|key| redis.key_type::<_, String>(key).unwrap() == "list");
    handoffs
}

/// How many elements a list has.
pub(crate) fn length(redis: &mut Connection, list: &str) -> usize {
    redis.llen(list).unwrap()
}
