//! A server that loses its data while everybody is connected (FLUSHALL): what was declared is declared again, and no
//! message goes nowhere.

use apium_peers::redis::{Connection, cmd};
use apium_peers::redis_server::RedisServer;
use apium_redis::RedisBroker;
use apium_transport::broker::broker::Broker as _;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::topology::{ExchangeType, Queue, Topology};

use crate::brokers::{broker, consumer, finish, keys, length, send, to};
use crate::kit::{connection, soon, until};

fn queue(name: &str, exchange: &str, kind: ExchangeType, key: &str) -> Queue {
    let mut queue = Queue::new(name);
    (queue.exchange, queue.exchange_type, queue.routing_key) = (exchange.to_owned(), kind, key.to_owned());
    queue
}

async fn declare(broker: &RedisBroker) {
    let mut topology = Topology::default();
    topology.queues = vec![
        queue("by-topic", "topics", ExchangeType::Topic, "log.*"),
        queue("one", "fans", ExchangeType::Fanout, ""),
        queue("other", "fans", ExchangeType::Fanout, ""),
        queue("by-key", "direct", ExchangeType::Direct, "key"),
    ];
    soon("declaring", broker.declare(&topology)).await.unwrap();
}

fn by_exchange(exchange: &str, key: &str) -> Outgoing {
    Outgoing::new(exchange.into(), key.into(), to("", "m").message)
}

fn flush(redis: &mut Connection) {
    let () = cmd("FLUSHALL").query(redis).unwrap();
}

#[tokio::test]
async fn a_publisher_declares_again_what_it_publishes_to() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let broker = broker(&server.url(0));
    declare(&broker).await;
    for _ in 0..2 {
        for (exchange, key) in [("topics", "log.info"), ("fans", ""), ("direct", "key")] {
            soon("publishing", broker.publish(vec![by_exchange(exchange, key)])).await.unwrap();
        }
        let lengths = ["by-topic", "one", "other", "by-key"].map(|list| length(&mut redis, list));
        assert_eq!(lengths, [1; 4]);
        flush(&mut redis);
    }
    // A topic without a queue is still no error, and an exchange that nobody declared is one.
    soon("publishing", broker.publish(vec![by_exchange("topics", "other.info")])).await.unwrap();
    soon("publishing", broker.publish(vec![by_exchange("nobody's", "x")])).await.unwrap_err();
}

#[tokio::test]
async fn a_consumer_declares_its_queues_again_for_others() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let (owner, publisher) = (broker(&server.url(0)), broker(&server.url(0)));
    declare(&owner).await;
    let mut consumer = consumer(&owner, "by-topic").await;
    let bound = keys(&mut redis, "_kombu.binding*");
    assert!(bound.contains(&"_kombu.binding.by-topic".to_owned()), "{bound:?}");
    flush(&mut redis);
    until("the bindings", || keys(&mut redis, "_kombu.binding*") == bound).await;
    soon("publishing", publisher.publish(vec![by_exchange("topics", "log.info")])).await.unwrap();
    finish(&mut consumer, &["m"]).await;
}

#[tokio::test]
async fn a_publisher_binds_again_after_its_server_was_restarted() {
    let server = RedisServer::start();
    let broker = broker(&server.url(0));
    send(&broker, "q", &["a"]).await;
    server.restart();
    crate::brokers::send_in_the_end(&broker, "q", "b").await;
    // The one that was published while it connected may have been bound before.
    send(&broker, "q", &["c"]).await;
    assert!(keys(&mut connection(&server), "_kombu.binding*").contains(&"_kombu.binding.q".to_owned()));
}
