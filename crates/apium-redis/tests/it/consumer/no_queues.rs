//! Consumers that read no queue for a while, because all of them are paused.

use std::time::Duration;

use apium_peers::redis_server::RedisServer;
use apium_transport::broker::broker::Broker as _;

use crate::brokers::{ack, broker, names, send, spec, take};
use crate::kit::{connection, soon, wait_for_silence};

#[tokio::test]
async fn a_consumer_without_queues_asks_the_server_for_nothing() {
    let server = RedisServer::start();
    let broker = broker(&server.url(0));
    let mut without = spec(&[]);
    // No heartbeat comes while this test looks.
    without.lease = Duration::from_secs(300);
    let mut consumer = soon("a consumer", broker.consume(without)).await.unwrap();
    for round in 0..2 {
        send(&broker, "q", &["m"]).await;
        let mut redis = connection(&server);
        let silence = tokio::task::spawn_blocking(move || wait_for_silence(&mut redis));
        tokio::select! {
            biased;
            came = consumer.next(10) => panic!("in round {round}: {came:?}"),
            silent = silence => silent.unwrap(),
        }
        consumer.subscribe("q").await.unwrap();
        let got = take(&mut consumer, 1).await;
        assert_eq!(names(&got), ["m"]);
        ack(&*consumer, &got).await;
        // It has waited for its queue, and stops.
        consumer.unsubscribe("q").await.unwrap();
    }
    soon("closing", consumer.close()).await.unwrap();
}
