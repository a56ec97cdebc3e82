//! A server whose memory is full: publishing fails and says what to do. Messages that are there are claimed, renewed,
//! settled and requeued all the same. When there is memory again, everything goes on.

use std::time::Duration;

use apium_peers::redis::{Commands, Connection, cmd};
use apium_peers::redis_server::RedisServer;
use apium_protocol::result::state::State;
use apium_transport::backend::backend::ResultBackend as _;
use apium_transport::broker::broker::Broker as _;
use apium_transport::broker::settlement::{Acknowledgement, Disposition, Settlement};
use apium_transport::error::ErrorKind;

use crate::brokers::{
    LEASE, ack, broker, consumer, finish, keys, length, names, receipts, send, send_in_the_end, spec, take, to,
};
use crate::kit::{connection, record, soon, until, version};
use crate::settle::follow_ups::store;

fn limit(redis: &mut Connection, limit: &str) {
    let () = cmd("CONFIG").arg("SET").arg("maxmemory").arg(limit).query(redis).unwrap();
}

/// Fills the memory, so that every write that needs some is refused.
fn fill(redis: &mut Connection) {
    limit(redis, "1");
    let refused = redis.set::<_, _, ()>("x", "y").unwrap_err();
    assert_eq!(refused.code(), Some("OOM"));
}

#[tokio::test]
async fn publishing_and_storing_fail_and_say_what_to_do() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let broker = broker(&server.url(0));
    let backend = crate::kit::backend(&server.url(0));
    fill(&mut redis);
    let many = (0..3).map(|n| to(if n == 1 { "r" } else { "q" }, "m")).collect();
    for error in [
        broker.publish(vec![to("q", "m")]).await.unwrap_err(),
        broker.publish(many).await.unwrap_err(),
        broker.consume(spec(&["q"])).await.map(drop).unwrap_err(),
        backend.store(vec![record("t", State::Success, None)]).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.is_retryable() && error.to_string().contains("raise maxmemory"), "{error}");
    }
    limit(&mut redis, "0");
    send_in_the_end(&broker, "q", "m").await;
    backend.store(vec![record("t", State::Success, None)]).await.unwrap();
    finish(&mut consumer(&broker, "q").await, &["m"]).await;
}

#[tokio::test]
async fn messages_that_are_there_are_claimed_and_settled() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let (broker, backend) = store(&server.url(0));
    let mut consumer = consumer(&broker, "q").await;
    send(&broker, "q", &["a", "b", "c", "d", "e"]).await;
    fill(&mut redis);
    let batch = take(&mut consumer, 5).await;
    assert_eq!(names(&batch), ["a", "b", "c", "d", "e"]);
    assert_eq!(redis.hlen::<_, usize>("unacked").unwrap(), 5);
    consumer.acker().mark_started(&receipts(&batch)[..2]).await.unwrap();
    // A result, a follow-up and the ack in one step.
    let end = Settlement::default()
        .storing(Some(record("a", State::Success, version(0, 1))))
        .publishing(vec![to("next", "follow-up")])
        .ending(Some((batch[0].receipt.clone(), Acknowledgement::Ack)));
    consumer.acker().atomic().unwrap().settle(vec![end]).await.unwrap();
    assert!(backend.stored().unwrap().fetch(&["a".into()]).await.unwrap()[0].is_some());
    assert_eq!(length(&mut redis, "next"), 1);
    let requeued = vec![(batch[1].receipt.clone(), Disposition::Requeue)];
    consumer.acker().reject(requeued).await.unwrap();
    consumer.acker().ack(receipts(&batch[2..3])).await.unwrap();
    // The rest is requeued.
    soon("closing", consumer.close()).await.unwrap();
    assert_eq!((length(&mut redis, "q"), keys(&mut redis, "unacked*")), (3, vec![]));
}

#[tokio::test]
async fn a_consumer_with_messages_in_flight_stays_alive() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let (one, other) = (broker(&server.url(0)), broker(&server.url(0)));
    let (mut holder, mut second) = (consumer(&one, "q").await, consumer(&other, "q").await);
    send(&one, "q", &["a"]).await;
    let batch = take(&mut holder, 1).await;
    fill(&mut redis);
    // For several leases nobody takes it for dead.
    let alive: Vec<(String, f64)> = redis.zrange_withscores("_apium.alive", 0, -1).unwrap();
    assert_eq!(alive.len(), 2);
    let later = alive[1].1 + (LEASE * 3).as_millis() as f64;
    until("signs of life", || {
        let now: Vec<(String, f64)> = redis.zrange_withscores("_apium.alive", 0, -1).unwrap();
        assert!(alive.iter().all(|(id, _)| now.iter().any(|(other, _)| other == id)), "{alive:?} became {now:?}");
        now.iter().all(|(_, deadline)| *deadline > later)
    })
    .await;
    ack(&*holder, &batch).await;
    limit(&mut redis, "0");
    send(&one, "q", &["b"]).await;
    finish(&mut second, &["b"]).await;
}

#[tokio::test]
async fn a_consumer_that_waits_goes_on_when_there_is_memory() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let broker = broker(&server.url(0));
    let mut waiting = consumer(&broker, "q").await;
    crate::brokers::idle(&mut waiting, &mut redis, 1).await;
    fill(&mut redis);
    // A wait may fail meanwhile, with an error that can be retried.
    let ended = tokio::time::timeout(Duration::from_millis(300), waiting.next(1)).await;
    if let Ok(Err(error)) = ended {
        assert!(error.is_retryable(), "{error}");
    }
    limit(&mut redis, "0");
    tokio::join!(finish(&mut waiting, &["a"]), send(&broker, "q", &["a"]));
}
