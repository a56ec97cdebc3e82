//! Broadcasts on kombu's exchanges: what other programs send that is no message, connections that are cut, and replies
//! that nobody waits for.

use apium_amqp::AmqpBroker;
use apium_peers::proxy::Proxy;
use apium_peers::rabbitmq_server::{RabbitmqServer, fresh_vhost};
use apium_transport::broker::broadcast::{Broadcast as _, BroadcastExchange, Mailbox, MailboxSpec, Received};
use apium_transport::broker::broker::Broker as _;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::topology::ExchangeType;
use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};

use crate::kit::{fresh, message, open, plain, soon, until};

const CALLER: &str = "cb8e94db-3e6c-34f1-aa73-4f231e48f103";

fn requests() -> BroadcastExchange {
    BroadcastExchange::new("celery.pidbox", ExchangeType::Fanout)
}

fn events() -> BroadcastExchange {
    BroadcastExchange::new("celeryev", ExchangeType::Topic)
}

fn replies() -> BroadcastExchange {
    BroadcastExchange::new("reply.celery.pidbox", ExchangeType::Direct)
}

async fn listen(broker: &AmqpBroker, exchange: BroadcastExchange, queue: &str, binding: &str) -> Box<dyn Mailbox> {
    soon("a mailbox", broker.listen(MailboxSpec::new(exchange, queue, binding))).await.unwrap()
}

/// Those of a worker, of a monitor, and of a caller that waits for replies, with what each may be sent.
async fn mailboxes(broker: &AmqpBroker) -> [(BroadcastExchange, &'static str, Box<dyn Mailbox>); 3] {
    let replies_to = format!("{CALLER}.reply.celery.pidbox");
    [
        (requests(), "", listen(broker, requests(), "rust@test.celery.pidbox", "").await),
        (events(), "task.sent", listen(broker, events(), "celeryev.1", "#").await),
        (replies(), CALLER, listen(broker, replies(), &replies_to, CALLER).await),
    ]
}

fn named(key: &str, name: &str) -> Outgoing {
    Outgoing::new("".into(), key.into(), message(name))
}

async fn next(mailbox: &mut Box<dyn Mailbox>) -> Received {
    soon("a broadcast", mailbox.next()).await.unwrap()
}

fn bodies(received: &Received) -> Vec<String> {
    received.messages.iter().map(|one| String::from_utf8_lossy(&one.message.body).into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_is_left_out() {
    let (broker, url) = fresh();
    let (connection, channel) = plain(&url).await;
    let mut headers = FieldTable::default();
    headers.insert("stamps".into(), AMQPValue::LongString("\n2026 INFO all is well".into()));
    for (exchange, key, mut mailbox) in mailboxes(&broker).await {
        let (name, options) = (&*exchange.name, BasicPublishOptions::default());
        let properties = BasicProperties::default().with_headers(headers.clone());
        let sent = channel.basic_publish(name.into(), key.into(), options, b"junk", properties).await;
        assert!(sent.unwrap().await.unwrap().is_ack());
        soon("a broadcast", broker.send(&exchange, vec![named(key, "good")])).await.unwrap();
        assert_eq!(bodies(&next(&mut mailbox).await), ["good"], "{name}");
    }
    connection.close(200, "OK".into()).await.unwrap();
    drop(channel);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_is_said_once_and_the_mailbox_goes_on() {
    let vhost = fresh_vhost();
    let proxy = Proxy::to(RabbitmqServer::shared().port());
    let listener = open(&format!("amqp://guest:guest@127.0.0.1:{}/{}", proxy.port(), vhost.name), &[]).unwrap();
    let sender = open(&vhost.url, &[]).unwrap();
    for (exchange, key, mut mailbox) in mailboxes(&listener).await {
        for round in 0..2 {
            proxy.cut();
            // What is sent before the mailbox is there again is missed.
            let received = {
                let sending = until("a broadcast after the cut", async || {
                    sender.send(&exchange, vec![named(key, "x")]).await.unwrap();
                    false
                });
                tokio::select! {
                    () = sending => unreachable!("it sends until something is received"),
                    received = next(&mut mailbox) => received,
                }
            };
            assert!(received.missed, "{} {round}", exchange.name);
            soon("a broadcast", sender.send(&exchange, vec![named(key, "last")])).await.unwrap();
            let mut last = Vec::new();
            while last.last().is_none_or(|name| name != "last") {
                let received = next(&mut mailbox).await;
                assert!(!received.missed, "{} {round}: it is said once", exchange.name);
                last = bodies(&received);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_nobody_waits_for_is_no_error_and_a_mailbox_leaves_nothing() {
    let (broker, url) = fresh();
    soon("a reply", broker.send(&replies(), vec![named(CALLER, "a"), named("nobody", "b")])).await.unwrap();
    drop(mailboxes(&broker).await);
    broker.close().await.unwrap();
    for queue in ["rust@test.celery.pidbox", "celeryev.1"] {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        // An error closes the channel.
        let (_connection, channel) = plain(&url).await;
        let found = channel.queue_declare(queue.into(), passive, FieldTable::default()).await;
        assert!(found.unwrap_err().to_string().contains("NOT_FOUND"), "{queue}");
    }
}
