//! A batch of which one part is refused, because a key has another type: nothing of it is done. Then the parts that can
//! be done are done alone, and no message is published twice.

use std::time::Duration;

use apium_peers::redis::{Commands, Connection, cmd};
use apium_peers::redis_server::fresh_database;
use apium_protocol::result::state::State;
use apium_redis::RedisDriver;
use apium_transport::address::Address;
use apium_transport::broker::broker::Broker as _;
use apium_transport::broker::dead_set::DeadReason;
use apium_transport::broker::settlement::{Acknowledgement, Disposition, Receipt, Settlement};
use apium_transport::clock::Clock;
use apium_transport::error::ErrorKind;

use super::follow_ups::{Body, body_message, counts, listed, open, part, settle, state, store};
use crate::brokers::{consumer, keys, length, options, send, take, to};
use crate::kit::{record, version};

fn spoil(redis: &mut Connection, key: &str) {
    // A stream is what no key of the driver is.
    let _: String = cmd("XADD").arg(key).arg("*").arg("a").arg("b").query(redis).unwrap();
}

/// The end of a run that publishes one message and has a result.
fn good(id: &str) -> Settlement {
    Settlement::default().storing(Some(record(id, State::Success, version(0, 1)))).publishing(vec![to("next", id)])
}

/// What needs a key of another type: the key, and the settlement.
fn spoiled(receipt: &Receipt) -> Vec<(&'static str, Settlement)> {
    let later = Clock::system().now().saturating_add(Duration::from_secs(600)).ok();
    let ack = || Settlement::default().ending(Some((receipt.clone(), Acknowledgement::Ack)));
    let dead = Disposition::Dead(DeadReason::new("rejected", "no".to_owned()));
    let last = || counts(part("g", "bad", 1, "2"), Body(body_message));
    vec![
        ("bad", ack().publishing(vec![to("bad", "m")])),
        ("_apium.eta.late", ack().publishing(vec![to("late", "m").at(later)])),
        ("celery-task-meta-bad", ack().storing(Some(record("bad", State::Success, None)))),
        ("celery-taskset-meta-g.j", ack().following_up(last())),
        ("celery-taskset-meta-g.d", ack().following_up(last())),
        ("_apium.dead", Settlement::default().ending(Some((receipt.clone(), Acknowledgement::Reject(dead))))),
    ]
}

#[tokio::test]
async fn nothing_of_a_batch_is_done_if_one_key_has_another_type() {
    for case in 0..6 {
        let database = fresh_database();
        let mut redis = database.connection();
        let address = Address::parse(&database.url).unwrap();
        let driver = RedisDriver::new();
        let broker = driver.open_broker(address.clone(), &options(&[("eta_strategy", "park")])).unwrap();
        let backend = driver.open_backend(address, &options(&[])).unwrap();
        let mut consumer = consumer(&broker, "q").await;
        send(&broker, "q", &["a", "bad", "c"]).await;
        let batch = take(&mut consumer, 3).await;
        open(&backend, "g", 2).await;
        let (key, bad) = spoiled(&batch[1].receipt).remove(case);
        spoil(&mut redis, key);
        let ack = |at: usize| Some((batch[at].receipt.clone(), Acknowledgement::Ack));
        // One was acked early, so it has no delivery.
        let whole = vec![good("a").ending(ack(0)), good("early"), bad.clone(), good("c").ending(ack(2))];
        let error = settle(&*consumer, whole.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{key}: {error:#}");
        assert!(format!("{error:#}").contains(key), "{key}: {error:#}");
        assert_eq!(length(&mut redis, "next"), 0, "{key}");
        assert_eq!(keys(&mut redis, "celery-task-meta-*").len(), usize::from(key.contains("task-meta")), "{key}");
        assert_eq!(redis.hlen::<_, usize>("unacked").unwrap(), 3, "{key}");
        assert_eq!(redis.zcard::<_, usize>("unacked_index").unwrap(), 3, "{key}");
        // Now one by one, as a worker does it.
        for one in whole {
            let _ = settle(&*consumer, vec![one]).await;
        }
        assert_eq!(listed(&mut redis, "next"), ["a", "early", "c"], "{key}");
        assert_eq!(redis.hlen::<_, usize>("unacked").unwrap(), 1, "{key}");
        // When the key is gone it is settled, too.
        let () = redis.del(key).unwrap();
        settle(&*consumer, vec![bad]).await.unwrap();
        assert_eq!(keys(&mut redis, "unacked*"), Vec::<String>::new(), "{key}");
    }
}

#[tokio::test]
async fn a_thousand_settlements_are_one_step() {
    let database = fresh_database();
    let mut redis = database.connection();
    let (broker, backend) = store(&database.url);
    let consumer = consumer(&broker, "q").await;
    spoil(&mut redis, "bad");
    let mut whole: Vec<Settlement> = (0..1023).map(|n| good(&n.to_string())).collect();
    whole.push(Settlement::default().publishing(vec![to("bad", "m")]));
    settle(&*consumer, whole.clone()).await.unwrap_err();
    assert_eq!((length(&mut redis, "next"), state(&backend, "0").await), (0, None));
    whole.pop();
    settle(&*consumer, whole).await.unwrap();
    assert_eq!((length(&mut redis, "next"), state(&backend, "1022").await), (1023, Some(State::Success)));
}

#[tokio::test]
async fn a_batch_that_is_published_goes_to_every_queue_or_to_none() {
    let database = fresh_database();
    let mut redis = database.connection();
    let (broker, _) = store(&database.url);
    spoil(&mut redis, "bad");
    for _ in 0..2 {
        let error = broker.publish(vec![to("good", "a"), to("bad", "b"), to("good", "c")]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:#}");
        assert_eq!(length(&mut redis, "good"), 0);
    }
}

#[tokio::test]
async fn a_dead_message_whose_list_has_another_type_stays_in_the_dead_set() {
    let database = fresh_database();
    let mut redis = database.connection();
    let (broker, _) = store(&database.url);
    let mut consumer = consumer(&broker, "q").await;
    send(&broker, "q", &["a"]).await;
    let batch = take(&mut consumer, 1).await;
    let dead = Disposition::Dead(DeadReason::new("rejected", "no".to_owned()));
    consumer.acker().reject(vec![(batch[0].receipt.clone(), dead)]).await.unwrap();
    spoil(&mut redis, "q");
    let dead_set = broker.dead().unwrap();
    let key = dead_set.list(0, 10).await.unwrap()[0].key;
    assert_eq!(dead_set.replay(vec![key]).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(dead_set.count().await.unwrap(), 1);
    let () = redis.del("q").unwrap();
    assert_eq!(dead_set.replay(vec![key]).await.unwrap(), 1);
    crate::brokers::finish(&mut consumer, &["a"]).await;
}
