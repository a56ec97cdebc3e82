//! Keys of another type, because another program uses their names: the error names the key, no message is lost, and
//! when the key is gone everything goes on.

use apium_peers::redis::{Commands, Connection};
use apium_peers::redis_server::{RedisServer, fresh_database};
use apium_protocol::result::state::State;
use apium_redis::RedisBroker;
use apium_transport::backend::backend::ResultBackend as _;
use apium_transport::broker::broker::Broker as _;
use apium_transport::broker::consumer::Consumer;
use apium_transport::error::{Error, ErrorKind};

use crate::brokers::{
    ack, broker, consumer, finish, fresh_broker, idle, keys, length, moved, names, receipts, send, spec, take, to,
};
use crate::kit::{backend, connection, record, soon, until};

/// Replaces a key by a text. The list that was there is renamed.
fn spoil(redis: &mut Connection, key: &str) {
    if redis.exists(key).unwrap() {
        let () = redis.rename(key, format!("kept {key}")).unwrap();
    }
    let () = redis.set(key, "not yours").unwrap();
}

fn mend(redis: &mut Connection, key: &str) {
    let () = redis.del(key).unwrap();
    if redis.exists(format!("kept {key}")).unwrap() {
        let () = redis.rename(format!("kept {key}"), key).unwrap();
    }
}

fn assert_names(error: &Error, key: &str) {
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:#}");
    let text = format!("{error:#}");
    assert!(text.contains(&format!("{key:?}")) && text.contains("another type"), "{text}");
}

async fn refused(consumer: &mut Box<dyn Consumer>) -> Error {
    soon("an error", consumer.next(10)).await.map(drop).unwrap_err()
}

#[tokio::test]
async fn a_queue() {
    let (mut redis, broker) = fresh_broker();
    let mut consumer = consumer(&broker, "q").await;
    spoil(&mut redis, "q");
    assert_names(&broker.publish(vec![to("q", "m")]).await.unwrap_err(), "q");
    assert_names(&broker.publish(vec![to("q", "m"), to("other", "m")]).await.unwrap_err(), "q");
    assert_names(&refused(&mut consumer).await, "q");
    mend(&mut redis, "q");
    send(&broker, "q", &["m"]).await;
    finish(&mut consumer, &["m"]).await;
}

#[tokio::test]
async fn a_queue_that_is_waited_for() {
    let server = RedisServer::start();
    let (mut redis, broker) = (connection(&server), broker(&server.url(0)));
    let mut waiting = consumer(&broker, "q").await;
    idle(&mut waiting, &mut redis, 1).await;
    let () = redis.set("q\u{6}\u{16}3", "not yours").unwrap();
    // The message comes all the same. The error comes when there is nothing else, perhaps before it.
    send(&broker, "q", &["m"]).await;
    let batch = soon("the message", async {
        loop {
            match waiting.next(1).await {
                Ok(batch) => break batch,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:#}"),
            }
        }
    })
    .await;
    assert_eq!(names(&batch), ["m"]);
    ack(&*waiting, &batch).await;
    let error = soon("the trouble", async {
        loop {
            if let Err(error) = waiting.next(1).await {
                break error;
            }
        }
    });
    let error = error.await;
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:#}");
    // The server writes the name as it is.
    let text = format!("{error:#}");
    assert!(text.contains("q\u{6}\u{16}3") && text.contains("another type"), "{text}");
}

#[tokio::test]
async fn a_queue_does_not_hold_up_the_others() {
    let (mut redis, broker) = fresh_broker();
    for _ in 0..3 {
        let mut consumer = soon("a consumer", broker.consume(spec(&["bad", "good"]))).await.unwrap();
        spoil(&mut redis, "bad");
        send(&broker, "good", &["a", "b", "c"]).await;
        let mut received = Vec::new();
        soon("the good ones", async {
            while received.len() < 3 {
                match consumer.next(1).await {
                    Ok(batch) => received.extend(batch),
                    Err(error) => assert_names(&error, "bad"),
                }
            }
        })
        .await;
        assert_eq!(names(&received), ["a", "b", "c"]);
        ack(&*consumer, &received).await;
        mend(&mut redis, "bad");
        soon("closing", consumer.close()).await.unwrap();
    }
}

#[tokio::test]
async fn a_queue_does_not_hold_up_the_delayed_messages_of_others() {
    let database = fresh_database();
    let mut redis = database.connection();
    let park = crate::brokers::broker_with(&database.url, &[("eta_strategy", "park")]);
    let mut consumer = consumer(&park, "good").await;
    spoil(&mut redis, "bad");
    let due = apium_transport::clock::Clock::system().now().saturating_add(std::time::Duration::from_millis(50)).ok();
    for queue in ["bad", "good"] {
        soon("publishing", park.publish(vec![to(queue, queue).at(due)])).await.unwrap();
    }
    finish(&mut consumer, &["good"]).await;
    assert_eq!(redis.zcard::<_, usize>("_apium.eta.bad").unwrap(), 1);
    mend(&mut redis, "bad");
    until("the delayed message", || redis.llen::<_, usize>("bad").unwrap() == 1).await;
}

/// A message that was popped goes back if it cannot be put in flight.
async fn claim_with_wrong_type(key: &str) {
    let (mut redis, broker) = fresh_broker();
    let mut consumer = consumer(&broker, "q").await;
    send(&broker, "q", &["a", "b"]).await;
    send_urgent(&broker).await;
    spoil(&mut redis, key);
    for _ in 0..3 {
        assert_names(&refused(&mut consumer).await, key);
        assert_eq!((length(&mut redis, "q"), length(&mut redis, "q\u{6}\u{16}3")), (2, 1));
    }
    mend(&mut redis, key);
    finish(&mut consumer, &["a", "b", "later"]).await;
    assert_eq!(keys(&mut redis, "unacked*"), Vec::<String>::new());
}

async fn send_urgent(broker: &RedisBroker) {
    broker.publish(vec![crate::brokers::with_priority("q", "later", 3)]).await.unwrap();
}

#[tokio::test]
async fn unacked() {
    claim_with_wrong_type("unacked").await;
}

#[tokio::test]
async fn unacked_index() {
    claim_with_wrong_type("unacked_index").await;
}

#[tokio::test]
async fn what_a_wait_has_moved_stays_in_its_handoff_list() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let broker = broker(&server.url(0));
    let mut consumer = consumer(&broker, "q").await;
    idle(&mut consumer, &mut redis, 1).await;
    spoil(&mut redis, "unacked");
    send(&broker, "q", &["m"]).await;
    until("the move", || moved(&mut redis).len() == 1).await;
    assert_names(&refused(&mut consumer).await, "unacked");
    let received = moved(&mut redis).pop().unwrap();
    assert_eq!(length(&mut redis, &received), 1);
    mend(&mut redis, "unacked");
    finish(&mut consumer, &["m"]).await;
}

#[tokio::test]
async fn what_cannot_be_settled_stays_in_flight() {
    let (mut redis, broker) = fresh_broker();
    let mut consumer = consumer(&broker, "q").await;
    send(&broker, "q", &["a", "b"]).await;
    let batch = take(&mut consumer, 2).await;
    spoil(&mut redis, "q");
    let requeue =
        |at: usize| vec![(batch[at].receipt.clone(), apium_transport::broker::settlement::Disposition::Requeue)];
    assert_names(&consumer.acker().reject(requeue(0)).await.unwrap_err(), "q");
    assert_eq!(redis.zcard::<_, usize>("unacked_index").unwrap(), 2);
    mend(&mut redis, "q");
    consumer.acker().reject(requeue(0)).await.unwrap();
    spoil(&mut redis, "unacked_index");
    assert_names(&consumer.acker().ack(receipts(&batch[1..])).await.unwrap_err(), "unacked_index");
    mend(&mut redis, "unacked_index");
    ack(&*consumer, &batch[1..]).await;
    finish(&mut consumer, &["a"]).await;
}

#[tokio::test]
async fn keys_of_apiums_own() {
    for key in ["_apium.consumers", "_apium.alive"] {
        let (mut redis, broker) = fresh_broker();
        spoil(&mut redis, key);
        assert_names(&broker.consume(spec(&["q"])).await.map(drop).unwrap_err(), key);
        mend(&mut redis, key);
        let mut consumer = consumer(&broker, "q").await;
        send(&broker, "q", &["m"]).await;
        finish(&mut consumer, &["m"]).await;
    }
    let (mut redis, broker) = fresh_broker();
    let mut consumer = consumer(&broker, "q").await;
    send(&broker, "q", &["m"]).await;
    let batch = take(&mut consumer, 1).await;
    let reason = apium_transport::broker::dead_set::DeadReason::new("rejected", "no".to_owned());
    let dead =
        || vec![(batch[0].receipt.clone(), apium_transport::broker::settlement::Disposition::Dead(reason.clone()))];
    spoil(&mut redis, "_apium.dead");
    assert_names(&consumer.acker().reject(dead()).await.unwrap_err(), "_apium.dead");
    mend(&mut redis, "_apium.dead");
    consumer.acker().reject(dead()).await.unwrap();
    assert_eq!(broker.dead().unwrap().count().await.unwrap(), 1);
}

#[tokio::test]
async fn a_result() {
    let database = fresh_database();
    let (mut redis, backend) = (database.connection(), backend(&database.url));
    let key = "celery-task-meta-t";
    let () = redis.lpush(key, "not yours").unwrap();
    let batch = vec![record("s", State::Success, None), record("t", State::Success, None)];
    assert_names(&backend.store(batch.clone()).await.unwrap_err(), key);
    // It is not a document, but no error either.
    assert_eq!(backend.stored().unwrap().fetch(&["t".into()]).await.unwrap(), [None]);
    let () = redis.del(key).unwrap();
    backend.store(batch).await.unwrap();
    assert!(backend.stored().unwrap().fetch(&["t".into()]).await.unwrap()[0].is_some());
}
