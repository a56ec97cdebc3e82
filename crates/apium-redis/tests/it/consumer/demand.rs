//! What a worker wants: the start marks that come with a claim, and the claims that go with settlements.

use std::sync::{Arc, Mutex};

use apium_peers::proxy::Proxy;
use apium_peers::redis::{Commands as _, Connection};
use apium_peers::redis_server::RedisServer;
use apium_redis::RedisBroker;
use apium_transport::broker::broker::Broker as _;
use apium_transport::broker::consumer::{Consumer, Delivery};
use apium_transport::broker::demand::{Demand, Wanted};
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::settlement::{Acknowledgement, Disposition, Settlement};
use futures_util::FutureExt as _;

use crate::brokers::{
    ack, broker, broker_with, consumer, finish, idle, length, moved, names, receipts, send, spec, take, to,
    with_priority, with_short_timeout,
};
use crate::kit::{connection, ran, soon, until};
use crate::settle::follow_ups::{Body, body_message, counts, open, part, store};

/// A demand that a test sets.
#[derive(Default)]
struct SetDemand(Mutex<Wanted>);

impl SetDemand {
    fn set(&self, wanted: Wanted) {
        *self.0.lock().unwrap() = wanted;
    }
}

impl Demand for SetDemand {
    fn wanted(&self) -> Wanted {
        *self.0.lock().unwrap()
    }
}

/// A consumer, and what it is asked for.
async fn demanding(broker: &RedisBroker, wanted: Wanted) -> (Box<dyn Consumer>, Arc<SetDemand>) {
    let demand = Arc::new(SetDemand::default());
    demand.set(wanted);
    let mut consumer = consumer(broker, "q").await;
    consumer.set_demand(demand.clone());
    (consumer, demand)
}

fn crashes(batch: &[Delivery]) -> Vec<u32> {
    batch.iter().map(|delivery| delivery.crashes).collect()
}

fn started(batch: &[Delivery]) -> Vec<bool> {
    batch.iter().map(|delivery| delivery.started).collect()
}

/// How many messages in flight are marked as started.
fn marked(redis: &mut Connection) -> usize {
    let entries: Vec<(String, f64)> = redis.zrange_withscores("unacked_index", 0, -1).unwrap();
    entries.iter().filter(|(_, score)| (score * 10_000.0).round() as i64 % 10 == 5).count()
}

#[tokio::test]
async fn a_claim_marks_as_many_as_begin_at_once_and_they_count_a_crash() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let (one, other) = (broker(&server.url(0)), broker(&server.url(0)));
    send(&other, "q", &["a", "b", "c"]).await;
    let (mut dying, _) = demanding(&one, Wanted::beginning(2)).await;
    let batch = take(&mut dying, 3).await;
    assert_eq!((names(&batch), started(&batch)), (vec!["a".into(), "b".into(), "c".into()], vec![true, true, false]));
    assert_eq!(marked(&mut redis), 2);
    drop((dying, one));
    let (mut living, _) = demanding(&other, Wanted::beginning(3)).await;
    let batch = take(&mut living, 3).await;
    assert_eq!((crashes(&batch), started(&batch)), (vec![1, 1, 0], vec![false; 3]), "redelivered ones are not marked");
    assert_eq!(marked(&mut redis), 0);
}

#[tokio::test]
async fn a_mark_that_was_taken_back_counts_no_crash() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let (one, other) = (broker(&server.url(0)), broker(&server.url(0)));
    send(&other, "q", &["a", "b", "c"]).await;
    let (mut dying, _) = demanding(&one, Wanted::beginning(3)).await;
    let batch = take(&mut dying, 3).await;
    let acker = dying.acker();
    acker.unmark_started(&receipts(&batch)[1..]);
    until("the server to know", || marked(&mut redis) == 1).await;
    // It begins later.
    acker.mark_started(&receipts(&batch)[2..]).await.unwrap();
    assert_eq!(marked(&mut redis), 2);
    drop((acker, dying, one));
    let mut living = consumer(&other, "q").await;
    assert_eq!(crashes(&take(&mut living, 3).await), [1, 0, 1]);
}

#[tokio::test]
async fn what_did_not_begin_goes_back_to_the_front() {
    let server = RedisServer::start();
    let broker = broker(&server.url(0));
    send(&broker, "q", &["a", "b", "c"]).await;
    let (mut stopping, _) = demanding(&broker, Wanted::beginning(2)).await;
    let batch = take(&mut stopping, 2).await;
    let acker = stopping.acker();
    acker.unmark_started(&receipts(&batch)[..1]);
    let requeue = |receipt| (receipt, Disposition::Requeue);
    acker.reject(receipts(&batch).into_iter().map(requeue).collect()).await.unwrap();
    let mut other = consumer(&broker, "q").await;
    finish(&mut other, &["a", "c", "b"]).await;
}

/// Acks a delivery and publishes these in one step.
fn ending(delivery: &Delivery, publish: Vec<Outgoing>) -> Settlement {
    Settlement::default().publishing(publish).ending(Some((delivery.receipt.clone(), Acknowledgement::Ack)))
}

async fn settle(consumer: &dyn Consumer, batch: Vec<Settlement>) {
    soon("a settlement", consumer.acker().atomic().unwrap().settle(batch)).await.unwrap();
}

/// What a consumer has got already: it asks the server for nothing.
fn already(consumer: &mut Box<dyn Consumer>) -> Vec<Delivery> {
    consumer.next(100).now_or_never().map_or_else(Vec::new, Result::unwrap)
}

#[tokio::test]
async fn a_settlement_brings_what_it_publishes() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let broker = broker(&server.url(0));
    let (mut chain, _) = demanding(&broker, Wanted::beginning(1)).await;
    send(&broker, "q", &["0"]).await;
    let mut step = take(&mut chain, 1).await;
    // Its waits are in the server from now on, and none of them takes a step.
    idle(&mut chain, &mut redis, 1).await;
    for number in 1..10 {
        settle(&*chain, vec![ending(&step[0], vec![to("q", &number.to_string())])]).await;
        step = already(&mut chain);
        assert_eq!((names(&step), started(&step)), (vec![number.to_string()], vec![true]));
        assert_eq!(redis.hlen::<_, usize>("unacked").unwrap(), 1, "it is in flight like any other");
    }
    ack(&*chain, &step).await;
    assert_eq!((already(&mut chain).len(), redis.exists::<_, bool>("unacked").unwrap()), (0, false));
}

/// The last part of a chord is settled in two calls, and the second one brings the body.
#[tokio::test]
async fn the_settlement_of_the_last_part_brings_the_body_of_its_chord() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let (broker, backend) = store(&server.url(0));
    let demand = Arc::new(SetDemand::default());
    let mut consumer = soon("a consumer", broker.consume(spec(&["q", "bodies"]))).await.unwrap();
    consumer.set_demand(demand.clone());
    open(&backend, "g", 2).await;
    send(&broker, "q", &["1", "2"]).await;
    let parts = take(&mut consumer, 2).await;
    demand.set(Wanted::beginning(1));
    let settlements = parts.iter().zip(1..).map(|(delivery, place)| {
        let part = part("g", &place.to_string(), place, &place.to_string());
        ending(delivery, Vec::new()).following_up(counts(part, Body(body_message)))
    });
    settle(&*consumer, settlements.collect()).await;
    let body = already(&mut consumer);
    assert_eq!((names(&body), started(&body)), (vec!["1 2".to_owned()], vec![true]));
    assert_eq!(redis.hlen::<_, usize>("unacked").unwrap(), 1);
    ack(&*consumer, &body).await;
}

#[tokio::test]
async fn what_waits_before_it_comes_first() {
    let server = RedisServer::start();
    let broker = broker_with(&server.url(0), &[("queue_order_strategy", "priority")]);
    let demand = Arc::new(SetDemand::default());
    let mut consumer = soon("a consumer", broker.consume(spec(&["a", "b"]))).await.unwrap();
    consumer.set_demand(demand.clone());
    send(&broker, "a", &["first"]).await;
    let first = take(&mut consumer, 1).await;
    let waiting = [("b", "low", 9), ("b", "old", 0), ("a", "middle", 3)];
    let waiting = waiting.map(|(queue, name, priority)| with_priority(queue, name, priority));
    soon("publishing", broker.publish(waiting.to_vec())).await.unwrap();
    demand.set(Wanted::beginning(3));
    settle(&*consumer, vec![ending(&first[0], vec![to("b", "step")])]).await;
    let batch = already(&mut consumer);
    assert_eq!(names(&batch), ["old", "step", "middle"], "the first step of every queue, then the second");
    demand.set(Wanted::default());
    ack(&*consumer, &batch).await;
    finish(&mut consumer, &["low"]).await;
}

#[tokio::test]
async fn queues_take_turns() {
    let server = RedisServer::start();
    let broker = broker(&server.url(0));
    let demand = Arc::new(SetDemand::default());
    let mut consumer = soon("a consumer", broker.consume(spec(&["a", "b"]))).await.unwrap();
    consumer.set_demand(demand.clone());
    send(&broker, "a", &["0"]).await;
    let mut batch = take(&mut consumer, 1).await;
    send(&broker, "a", &["a1", "a2", "a3"]).await;
    send(&broker, "b", &["b1", "b2", "b3"]).await;
    demand.set(Wanted::beginning(1));
    let mut came = Vec::new();
    for _ in 0..6 {
        ack(&*consumer, &batch).await;
        batch = already(&mut consumer);
        came.extend(names(&batch));
    }
    let turns: String = came.iter().map(|name| &name[..1]).collect();
    assert!(turns == "ababab" || turns == "bababa", "{came:?}");
}

#[tokio::test]
async fn others_get_what_would_not_begin_at_once() {
    let server = RedisServer::start();
    let broker = broker(&server.url(0));
    let (mut one, demand) = demanding(&broker, Wanted::default()).await;
    send(&broker, "q", &["a"]).await;
    let a = take(&mut one, 1).await;
    // One slot is free, and there is prefetch for more.
    demand.set(Wanted::fetching(1, 10));
    settle(&*one, vec![ending(&a[0], ["b", "c", "d"].map(|name| to("q", name)).to_vec())]).await;
    let b = already(&mut one);
    assert_eq!((names(&b), started(&b)), (vec!["b".to_owned()], vec![false]));
    // What was in the queue before is for whoever has room.
    send(&broker, "q", &["e"]).await;
    ack(&*one, &b).await;
    assert_eq!(names(&already(&mut one)), ["c", "d", "e"]);
}

#[tokio::test]
async fn nothing_is_claimed_that_is_not_wanted() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let broker = broker(&server.url(0));
    let demand = Arc::new(SetDemand::default());
    let mut limited = spec(&["q", "other"]);
    limited.prefetch = 3;
    let mut consumer = soon("a consumer", broker.consume(limited)).await.unwrap();
    consumer.set_demand(demand.clone());
    let all: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    send(&broker, "q", &all.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut got = take(&mut consumer, 3).await;
    // No slot is free.
    ack(&*consumer, &got[..1]).await;
    assert_eq!(length(&mut redis, "q"), 17);
    // The prefetch is a limit too: two of three are in flight, and one of these is settled.
    demand.set(Wanted::beginning(10));
    ack(&*consumer, &got[1..2]).await;
    assert_eq!(length(&mut redis, "q"), 15);
    // What waits in the driver is on its way to the slots.
    demand.set(Wanted::beginning(2));
    ack(&*consumer, &got[2..]).await;
    assert_eq!(length(&mut redis, "q"), 15);
    got = already(&mut consumer);
    assert_eq!(names(&got), ["3", "4"]);
    // A requeue is for others, and a pause ends it.
    let requeue = vec![(got[0].receipt.clone(), Disposition::Requeue)];
    consumer.acker().unmark_started(&receipts(&got));
    consumer.acker().reject(requeue).await.unwrap();
    assert_eq!(length(&mut redis, "q"), 16);
    soon("the pause", consumer.pause()).await.unwrap();
    ack(&*consumer, &got[1..]).await;
    assert_eq!((length(&mut redis, "q"), redis.exists::<_, bool>("unacked").unwrap()), (16, false));
    // So does the end of a subscription, for its queue.
    demand.set(Wanted::default());
    got = take(&mut consumer, 1).await;
    soon("the end", consumer.unsubscribe("q")).await.unwrap();
    demand.set(Wanted::beginning(3));
    assert!(already(&mut consumer).is_empty());
    ack(&*consumer, &got).await;
    assert_eq!(length(&mut redis, "q"), 15);
}

#[tokio::test]
async fn a_pause_gives_back_what_was_not_handed_out() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let broker = broker(&server.url(0));
    let (mut paused, demand) = demanding(&broker, Wanted::default()).await;
    send(&broker, "q", &["a", "b", "c", "d"]).await;
    let a = take(&mut paused, 1).await;
    demand.set(Wanted::beginning(2));
    ack(&*paused, &a).await;
    assert_eq!(length(&mut redis, "q"), 1);
    soon("the pause", paused.pause()).await.unwrap();
    assert_eq!((length(&mut redis, "q"), redis.exists::<_, bool>("unacked").unwrap()), (3, false));
    finish(&mut consumer(&broker, "q").await, &["b", "c", "d"]).await;
}

#[tokio::test]
async fn what_a_pause_gave_back_without_a_reply_is_not_handed_out() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let (proxy, direct) = (Proxy::to(server.port()), broker(&server.url(0)));
    let far = with_short_timeout(&format!("redis://127.0.0.1:{}/0", proxy.port()));
    let (mut paused, demand) = demanding(&far, Wanted::default()).await;
    send(&direct, "q", &["a", "b", "c"]).await;
    let a = take(&mut paused, 1).await;
    demand.set(Wanted::beginning(2));
    ack(&*paused, &a).await;
    demand.set(Wanted::default());
    // The request comes to the server, and its reply is lost.
    proxy.delay(std::time::Duration::from_millis(100));
    let lost = async {
        until("the messages in their list", || length(&mut redis, "q") == 2).await;
        proxy.cut();
        proxy.delay(std::time::Duration::ZERO);
    };
    let (pausing, ()) = tokio::join!(paused.pause(), lost);
    assert!(pausing.unwrap_err().is_retryable());
    let mut other = consumer(&direct, "q").await;
    finish(&mut other, &["b", "c"]).await;
    other.close().await.unwrap();
    send(&direct, "q", &["d"]).await;
    finish(&mut paused, &["d"]).await;
}

#[tokio::test]
async fn what_a_settlement_claimed_without_a_reply_comes_back() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let (proxy, direct) = (Proxy::to(server.port()), broker(&server.url(0)));
    let far = with_short_timeout(&format!("redis://127.0.0.1:{}/0", proxy.port()));
    let (mut cut, demand) = demanding(&far, Wanted::default()).await;
    send(&direct, "q", &["a", "b"]).await;
    let a = take(&mut cut, 1).await;
    demand.set(Wanted::beginning(1));
    // The request comes to the server, and its reply is lost.
    proxy.delay(std::time::Duration::from_millis(100));
    let acker = cut.acker();
    let acking = acker.ack(receipts(&a));
    let lost = async {
        until("the settlement in the server", || {
            let entries: Vec<String> = redis.hvals("unacked").unwrap();
            // The body in base64.
            entries.len() == 1 && entries[0].contains("Yg==")
        })
        .await;
        proxy.cut();
        proxy.delay(std::time::Duration::ZERO);
    };
    let (acked, ()) = tokio::join!(acking, lost);
    assert!(acked.unwrap_err().is_retryable());
    demand.set(Wanted::default());
    // The second attempt finds it settled, and what it had claimed goes back and comes once.
    ack(&*cut, &a).await;
    finish(&mut cut, &["b"]).await;
    until("nothing in flight", || !redis.exists::<_, bool>("unacked").unwrap()).await;
    assert_eq!(length(&mut redis, "q"), 0);
}

#[tokio::test]
async fn a_consumer_that_was_taken_for_dead_claims_nothing_with_a_settlement() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let broker = broker(&server.url(0));
    let (mut lapsed, demand) = demanding(&broker, Wanted::default()).await;
    send(&broker, "q", &["a", "b"]).await;
    let a = take(&mut lapsed, 1).await;
    demand.set(Wanted::beginning(1));
    let ids: Vec<String> = redis.zrange("_apium.alive", 0, -1).unwrap();
    let () = redis.zrem("_apium.alive", &ids[0]).unwrap();
    let _ = lapsed.acker().ack(receipts(&a)).await;
    until("a new id", || redis.zrange::<_, Vec<String>>("_apium.alive", 0, -1).unwrap().iter().any(|id| *id != ids[0]))
        .await;
    let mut came = names(&take(&mut lapsed, 1).await);
    came.extend(names(&already(&mut lapsed)));
    assert_eq!(came.last().map(String::as_str), Some("b"), "{came:?}");
    soon("closing", lapsed.close()).await.unwrap();
}

/// How often the server took something from a list, for a script or not.
fn pops(redis: &mut Connection) -> u64 {
    ran(redis, &["rpop"])
}

#[tokio::test]
async fn lists_for_which_a_wait_is_running_are_not_read() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let broker = broker(&server.url(0));
    let (mut waiting, _) = demanding(&broker, Wanted::beginning(1)).await;
    send(&broker, "q", &["a"]).await;
    let a = take(&mut waiting, 1).await;
    idle(&mut waiting, &mut redis, 1).await;
    let before = pops(&mut redis);
    settle(&*waiting, vec![ending(&a[0], vec![with_priority("q", "b", 5)])]).await;
    assert_eq!(
        pops(&mut redis),
        before + 1,
        "the list to which it published: it is tracked, so no wait moved anything"
    );
    let b = already(&mut waiting);
    ack(&*waiting, &b).await;
    assert_eq!(pops(&mut redis), before + 1);
    // The waits go on.
    send(&broker, "q", &["c"]).await;
    finish(&mut waiting, &["c"]).await;
}

#[tokio::test]
async fn what_a_wait_has_moved_comes_before_what_is_published() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let broker = broker(&server.url(0));
    let (mut waiting, demand) = demanding(&broker, Wanted::default()).await;
    send(&broker, "q", &["a"]).await;
    let a = take(&mut waiting, 1).await;
    idle(&mut waiting, &mut redis, 1).await;
    // Its wait moves this one, and the consumer does not know of it yet.
    send(&broker, "q", &["first"]).await;
    until("the move", || moved(&mut redis).len() == 1).await;
    demand.set(Wanted::beginning(1));
    settle(&*waiting, vec![ending(&a[0], vec![to("q", "second")])]).await;
    let first = already(&mut waiting);
    assert_eq!(names(&first), ["first"]);
    demand.set(Wanted::default());
    ack(&*waiting, &first).await;
    finish(&mut waiting, &["second"]).await;
}
