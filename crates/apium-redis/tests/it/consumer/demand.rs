//! What a worker wants: the start marks that come with a claim.

use std::sync::{Arc, Mutex};

use apium_peers::redis::{Commands as _, Connection};
use apium_peers::redis_server::RedisServer;
use apium_redis::RedisBroker;
use apium_transport::broker::consumer::{Consumer, Delivery};
use apium_transport::broker::demand::{Demand, Wanted};

use crate::brokers::{broker, consumer, finish, names, receipts, send, take};
use crate::kit::{connection, until};

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
    let requeue = |receipt| (receipt, apium_transport::broker::settlement::Disposition::Requeue);
    acker.reject(receipts(&batch).into_iter().map(requeue).collect()).await.unwrap();
    let mut other = consumer(&broker, "q").await;
    finish(&mut other, &["a", "c", "b"]).await;
}
