//! A server that loses its data while everybody is connected (FLUSHALL): what was declared is declared again, and no
//! message goes nowhere.

use apium_peers::redis::{Connection, cmd};
use apium_peers::redis_server::RedisServer;
use apium_redis::RedisBroker;
use apium_transport::broker::broker::Broker as _;
use apium_transport::broker::consumer::Delivery;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::settlement::Disposition;
use apium_transport::broker::topology::{ExchangeType, Queue, Topology};

use crate::brokers::{ack, broker, consumer, finish, in_the_end, keys, length, names, receipts, send, take, to};
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

/// The server is emptied, or starts again without its data.
fn lose_data(server: &RedisServer, restarts: bool) {
    match restarts {
        true => server.restart(),
        false => flush(&mut connection(server)),
    }
}

#[tokio::test]
async fn what_is_in_flight_is_settled_after_the_server_lost_its_data() {
    for restarts in [false, true] {
        let server = RedisServer::start();
        let broker = broker(&server.url(0));
        let mut worker = consumer(&broker, "q").await;
        send(&broker, "q", &["done", "begun", "given-back", "kept"]).await;
        let batch = take(&mut worker, 4).await;
        let [done, begun, given_back, kept] = [0, 1, 2, 3].map(|n| vec![batch[n].clone()]);
        lose_data(&server, restarts);

        // Each way to settle a delivery finds it, whatever the maintenance of the consumer has seen meanwhile.
        ack(&*worker, &done).await;
        in_the_end("marking", async || worker.acker().mark_started(&receipts(&begun)).await).await;
        let requeue = || receipts(&given_back).into_iter().map(|receipt| (receipt, Disposition::Requeue)).collect();
        in_the_end("giving back", async || worker.acker().reject(requeue()).await).await;
        let again = take(&mut worker, 1).await;
        assert_eq!((names(&again), again[0].redelivered), (vec!["given-back".to_owned()], true));
        let in_flight: Vec<Delivery> = [begun, kept, again].concat();
        ack(&*worker, &in_flight).await;
        let mut redis = connection(&server);
        assert_eq!(keys(&mut redis, "unacked*"), Vec::<String>::new(), "restarts: {restarts}");
    }
}

#[tokio::test]
async fn what_is_in_flight_is_taken_over_after_the_server_lost_its_data() {
    let server = RedisServer::start();
    let (broker, other) = (broker(&server.url(0)), broker(&server.url(0)));
    let mut worker = consumer(&broker, "q").await;
    send(&broker, "q", &["begun", "fetched"]).await;
    let batch = take(&mut worker, 2).await;
    worker.acker().mark_started(&receipts(&batch[..1])).await.unwrap();
    flush(&mut connection(&server));
    // The maintenance puts it back by itself.
    let mut redis = connection(&server);
    until("the messages in flight", || keys(&mut redis, "unacked*").len() == 2).await;
    // The worker dies.
    drop(worker);
    drop(broker);
    let mut heir = consumer(&other, "q").await;
    let mut again = take(&mut heir, 2).await;
    again.sort_by_key(|delivery| std::cmp::Reverse(delivery.crashes));
    assert_eq!(names(&again), ["begun", "fetched"]);
    assert_eq!([again[0].crashes, again[1].crashes], [1, 0]);
}

#[tokio::test]
async fn who_was_taken_for_dead_gets_nothing_back_though_the_data_are_there() {
    let server = RedisServer::start();
    let (broker, other) = (broker(&server.url(0)), broker(&server.url(0)));
    let mut worker = consumer(&broker, "q").await;
    send(&broker, "q", &["m"]).await;
    let batch = take(&mut worker, 1).await;
    // Its lease ends, as that of a process that was stopped for long.
    let mut redis = connection(&server);
    let ids: Vec<String> = cmd("ZRANGE").arg("_apium.alive").arg(0).arg(-1).query(&mut redis).unwrap();
    let () = cmd("ZADD").arg("_apium.alive").arg(1).arg(&ids[0]).query(&mut redis).unwrap();
    let mut heir = consumer(&other, "q").await;
    let again = take(&mut heir, 1).await;
    let lost = soon("the error", worker.acker().ack(receipts(&batch))).await.unwrap_err();
    assert!(lost.to_string().contains("given to another consumer"), "{lost}");
    ack(&*heir, &again).await;
}
