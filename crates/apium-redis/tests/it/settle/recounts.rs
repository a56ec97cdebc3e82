//! Parts of chords whose messages were acked before their runs: for the last part a recount message is in flight, from
//! the step that counts the part until the step that sends the body.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apium_peers::proxy::Proxy;
use apium_peers::redis::{Commands, Connection, cmd};
use apium_peers::redis_server::{RedisServer, fresh_database};
use apium_protocol::json::text::Json;
use apium_protocol::result::state::State;
use apium_transport::backend::chord::{ChordPart, FailedPart};
use apium_transport::broker::broker::Broker as _;
use apium_transport::broker::consumer::Delivery;
use apium_transport::broker::follow_ups::{ChordContinuation, EndedPart, FollowUps};
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::settlement::{Acknowledgement, Settlement};
use apium_transport::error::Result;

use crate::brokers::{consumer, keys, length, names, spec, take, to, with_priority};
use crate::kit::{connection, ran, record, soon, until, version, wait_for_silence};
use crate::settle::follow_ups::{Body, body_message, listed, open, part, settle, state, store};

/// The continuation of a chord, with a recount message.
struct WithRecount<F, G>(Body<F>, G);

impl<F, G> ChordContinuation for WithRecount<F, G>
where
    F: Fn(Result<Vec<Json>, FailedPart>) -> FollowUps + Send + Sync,
    G: Fn(&ChordPart) -> Outgoing + Send + Sync,
{
    fn complete(&self, results: Vec<Json>) -> FollowUps {
        self.0.complete(results)
    }

    fn failed(&self, part: FailedPart) -> FollowUps {
        self.0.failed(part)
    }

    fn recount_message(&self, part: &ChordPart, after: Option<Duration>) -> Option<Outgoing> {
        assert_eq!(after, None, "it is noted, not published");
        Some((self.1)(part))
    }
}

/// The recount message: it goes to the queue `recounts` and names the part.
fn recount(part: &ChordPart) -> Outgoing {
    to("recounts", part.task_id.as_str())
}

/// The settlement of a task whose message is acked already: its result, a message of its own, its parts.
fn settlement(parts: Vec<(ChordPart, Arc<dyn ChordContinuation>)>) -> Settlement {
    let id = parts[0].0.task_id.to_string();
    let parts = parts.into_iter().map(|(part, continuation)| EndedPart::new(part, continuation)).collect();
    let mut follow_ups = FollowUps::default();
    follow_ups.parts = parts;
    Settlement::default()
        .storing(Some(record(&id, State::Success, version(0, 1))))
        .publishing(vec![to("own", &id)])
        .following_up(Some(Box::new(follow_ups)))
}

fn last_part(part: ChordPart) -> Settlement {
    settlement(vec![(part, Arc::new(WithRecount(Body(body_message), recount)))])
}

/// The settlement of the run of a recount message.
fn recount_settlement(delivery: &Delivery, part: ChordPart) -> Settlement {
    let mut follow_ups = FollowUps::default();
    follow_ups.parts = vec![EndedPart::new(part, Arc::new(WithRecount(Body(body_message), recount)))];
    Settlement::default()
        .ending(Some((delivery.receipt.clone(), Acknowledgement::Ack)))
        .following_up(Some(Box::new(follow_ups)))
}

/// No key of kombu or of the chord is left, but the one that says that the body was sent.
fn nothing_left(redis: &mut Connection, group: &str) {
    assert_eq!(keys(redis, "unacked*"), Vec::<String>::new());
    assert_eq!(keys(redis, &format!("celery-taskset-meta-{group}*")), [format!("celery-taskset-meta-{group}.c")]);
    assert_eq!(redis.get::<_, String>(format!("celery-taskset-meta-{group}.c")).unwrap(), "done");
}

#[tokio::test]
async fn nothing_is_left_where_nobody_dies() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let (broker, backend) = store(&server.url(0));
    let mut lasting = spec(&["q"]);
    lasting.lease = Duration::from_secs(600);
    let consumer = broker.consume(lasting).await.unwrap();
    crate::brokers::send(&broker, "recounts", &["bound now"]).await;
    wait_for_silence(&mut redis);
    for (round, group) in ["warm", "g"].into_iter().enumerate() {
        open(&backend, group, 3).await;
        let mut cost = async |batch: Vec<Settlement>| {
            let before = ran(&mut redis, &["eval"]);
            settle(&*consumer, batch).await.unwrap();
            ran(&mut redis, &["eval"]) - before
        };
        let first = cost(vec![last_part(part(group, "a", 0, "1"))]).await;
        let continuation = cost(vec![last_part(part(group, "b", 1, "2")), last_part(part(group, "c", 2, "3"))]).await;
        if round == 1 {
            assert_eq!((first, continuation), (1, 3), "a part that is not the last costs no call of its own");
        }
        assert_eq!(listed(&mut redis, "bodies").len(), round + 1);
        nothing_left(&mut redis, group);
    }
    assert_eq!(listed(&mut redis, "bodies"), ["1 2 3", "1 2 3"]);
    assert_eq!(listed(&mut redis, "own"), ["a", "b", "c", "a", "b", "c"]);
    assert_eq!(length(&mut redis, "recounts"), 1, "only what was sent there");
}

/// A recount message is made only for a last part, and only without a delivery.
#[tokio::test]
async fn the_message_is_made_for_a_last_part_without_a_delivery() {
    let database = fresh_database();
    let (broker, backend) = store(&database.url);
    let mut consumer = consumer(&broker, "q").await;
    crate::brokers::send(&broker, "q", &["c"]).await;
    let late = take(&mut consumer, 1).await.remove(0);
    let made = Arc::new(AtomicUsize::new(0));
    let counted = |group: &str, id: &str, place: i64| {
        let made = made.clone();
        let message = move |part: &ChordPart| {
            made.fetch_add(1, Ordering::Relaxed);
            recount(part)
        };
        settlement(vec![(part(group, id, place, "1"), Arc::new(WithRecount(Body(body_message), message)))])
    };
    open(&backend, "late", 2).await;
    open(&backend, "early", 2).await;
    let mut last = counted("late", "c", 1);
    last.delivery = Some((late.receipt.clone(), Acknowledgement::Ack));
    settle(&*consumer, vec![counted("late", "b", 0), last, counted("early", "a", 0)]).await.unwrap();
    assert_eq!(made.load(Ordering::Relaxed), 0);
    settle(&*consumer, vec![counted("early", "b", 1)]).await.unwrap();
    assert_eq!(made.load(Ordering::Relaxed), 1);
    let mut redis = database.connection();
    assert_eq!(listed(&mut redis, "bodies").len(), 2);
    nothing_left(&mut redis, "early");
}

/// A worker is killed after the part was counted: others reclaim the recount message like any message in flight.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_after_counting_leaves_a_message() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let proxy = Arc::new(Proxy::to(server.port()));
    let (dying, _) = store(&format!("redis://127.0.0.1:{}/0", proxy.port()));
    let (broker, backend) = store(&server.url(0));
    open(&backend, "g", 2).await;
    let first = consumer(&dying, "q").await;
    let (cut, came) = (proxy.clone(), Arc::new(tokio::sync::Notify::new()));
    let tell = came.clone();
    let dies = Body(move |came| {
        // From here on the connections of this worker are cut.
        cut.black_hole(true);
        tell.notify_one();
        body_message(came)
    });
    let urgent = |part: &ChordPart| with_priority("recounts", part.task_id.as_str(), 9);
    let last = settlement(vec![(part("g", "b", 1, "2"), Arc::new(WithRecount(dies, urgent)))]);
    let acker = first.acker();
    tokio::select! {
        settled = acker.atomic().unwrap().settle(vec![last_part(part("g", "a", 0, "1")), last]) => panic!("{settled:?}"),
        () = came.notified() => {}
    }
    drop(first);
    proxy.cut();
    // All of the settlement is done but for the body, and the recount message is in flight at the dead worker.
    assert_eq!((listed(&mut redis, "own"), listed(&mut redis, "bodies")), (vec!["a".into(), "b".into()], vec![]));
    assert_eq!(state(&backend, "b").await, Some(State::Success));
    assert_eq!((redis.hlen("unacked"), redis.zcard("unacked_index")), (Ok(1_usize), Ok(1_usize)));
    assert_eq!(keys(&mut redis, "recounts*"), Vec::<String>::new());
    let mut second = consumer(&broker, "recounts").await;
    let recounted = take(&mut second, 1).await;
    assert_eq!((names(&recounted), recounted[0].redelivered), (vec!["b".to_owned()], true));
    settle(&*second, vec![recount_settlement(&recounted[0], part("g", "b", 1, "2"))]).await.unwrap();
    assert_eq!(listed(&mut redis, "bodies"), ["1 2"]);
    nothing_left(&mut redis, "g");
    assert_eq!(keys(&mut redis, "_apium.crashes"), Vec::<String>::new(), "it is no crash of it");
}

/// A worker is killed before the part was counted: its run is lost, as with every early ack, and the part is not
/// counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_before_counting_has_not_ended() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let proxy = Arc::new(Proxy::to(server.port()));
    let (dying, _) = store(&format!("redis://127.0.0.1:{}/0", proxy.port()));
    let (_, backend) = store(&server.url(0));
    open(&backend, "g", 1).await;
    let first = consumer(&dying, "q").await;
    let (cut, came) = (proxy.clone(), Arc::new(tokio::sync::Notify::new()));
    let tell = came.clone();
    let dies = move |part: &ChordPart| {
        cut.black_hole(true);
        tell.notify_one();
        recount(part)
    };
    let last = settlement(vec![(part("g", "a", 0, "1"), Arc::new(WithRecount(Body(body_message), dies)))]);
    let acker = first.acker();
    tokio::select! {
        settled = acker.atomic().unwrap().settle(vec![last]) => panic!("{settled:?}"),
        () = came.notified() => {}
    }
    drop(first);
    proxy.cut();
    assert_eq!((listed(&mut redis, "own"), state(&backend, "a").await), (vec![], None));
    assert_eq!(keys(&mut redis, "celery-taskset-meta-g*"), ["celery-taskset-meta-g.s"]);
    assert_eq!(keys(&mut redis, "unacked*"), Vec::<String>::new());
}

/// A settlement is dropped or fails after counting and before the body, and its consumer lives: the recount message
/// soon goes to its queue.
#[tokio::test(flavor = "multi_thread")]
async fn the_recount_message_of_an_abandoned_settlement_goes_to_its_queue() {
    // A server of its own, because a pause is the whole server's.
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let (broker, backend) = store(&server.url(0));
    let consumer_of_q = consumer(&broker, "q").await;
    let mut others = consumer(&broker, "recounts").await;
    for (group, dropped) in [("g", true), ("h", false)] {
        open(&backend, group, 1).await;
        let counted = Arc::new(tokio::sync::Notify::new());
        let (tell, wrong) = (counted.clone(), Mutex::new(connection(&server)));
        let breaks = Body(move |came| {
            tell.notify_one();
            let mut wrong = wrong.lock().unwrap();
            // The key to which it would be written is no list.
            let () = wrong.set("bodies", "wrong").unwrap();
            if dropped {
                // The second step gets no answer before the settlement is dropped.
                let () = cmd("CLIENT").arg("PAUSE").arg(30_000).arg("WRITE").query(&mut *wrong).unwrap();
            }
            body_message(came)
        });
        let last = settlement(vec![(part(group, "a", 0, "1"), Arc::new(WithRecount(breaks, recount)))]);
        let acker = consumer_of_q.acker();
        let settling = acker.atomic().unwrap().settle(vec![last]);
        if dropped {
            tokio::select! {
                biased;
                () = counted.notified() => {}
                settled = settling => panic!("{settled:?}"),
            }
            let () = cmd("CLIENT").arg("UNPAUSE").query(&mut redis).unwrap();
        } else {
            soon("a settlement that fails", settling).await.unwrap_err();
        }
        let recounted = take(&mut others, 1).await;
        let () = redis.del("bodies").unwrap();
        assert_eq!(names(&recounted), ["a"]);
        settle(&*others, vec![recount_settlement(&recounted[0], part(group, "a", 0, "1"))]).await.unwrap();
        assert_eq!(listed(&mut redis, "bodies"), ["1"]);
        nothing_left(&mut redis, group);
        let () = redis.del("bodies").unwrap();
    }
    // A second attempt at the settlement finds that it is done.
    settle(&*consumer_of_q, vec![last_part(part("h", "a", 0, "1"))]).await.unwrap();
    assert_eq!(listed(&mut redis, "bodies"), Vec::<String>::new());
    nothing_left(&mut redis, "h");
}

/// A consumer that closes between the two steps requeues the recount message with all that it has in flight.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_closes_requeues_the_recount_message() {
    let database = fresh_database();
    let mut redis = database.connection();
    let (broker, backend) = store(&database.url);
    open(&backend, "g", 1).await;
    let first = consumer(&broker, "q").await;
    let acker = first.acker();
    let closes = Mutex::new(Some(first));
    let closed = Body(move |came| {
        let first = closes.lock().unwrap().take().unwrap();
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(first.close())).unwrap();
        body_message(came)
    });
    let last = settlement(vec![(part("g", "a", 0, "1"), Arc::new(WithRecount(closed, recount)))]);
    // The recount message is not this consumer's any more, but that is no error of the settlement.
    soon("the settlement", acker.atomic().unwrap().settle(vec![last])).await.unwrap();
    assert_eq!((listed(&mut redis, "bodies"), length(&mut redis, "recounts")), (vec![], 1));
    let mut second = consumer(&broker, "recounts").await;
    let recounted = take(&mut second, 1).await;
    settle(&*second, vec![recount_settlement(&recounted[0], part("g", "a", 0, "1"))]).await.unwrap();
    assert_eq!(listed(&mut redis, "bodies"), ["1"]);
    nothing_left(&mut redis, "g");
}

/// Another consumer gets the recount message before the body is sent. Then that one sends the body.
#[tokio::test]
async fn whoever_has_the_message_sends_the_body() {
    let database = fresh_database();
    let mut redis = database.connection();
    let (broker, backend) = store(&database.url);
    let consumer = consumer(&broker, "q").await;
    open(&backend, "g", 1).await;
    let others = Mutex::new(database.connection());
    let held_up = Body(move |came| {
        let () = others.lock().unwrap().del(&["unacked", "unacked_index"]).unwrap();
        body_message(came)
    });
    let last = settlement(vec![(part("g", "a", 0, "1"), Arc::new(WithRecount(held_up, recount)))]);
    settle(&*consumer, vec![last]).await.unwrap();
    assert_eq!((listed(&mut redis, "bodies"), listed(&mut redis, "own")), (vec![], vec!["a".to_owned()]));
    assert_eq!(redis.get::<_, String>("celery-taskset-meta-g.c").unwrap(), "g:a");
}

/// A settlement may have the last parts of several chords, and other parts behind them: all are counted, and each body
/// is sent.
#[tokio::test]
async fn a_settlement_may_complete_several_chords() {
    let database = fresh_database();
    let mut redis = database.connection();
    let (broker, backend) = store(&database.url);
    let consumer = consumer(&broker, "q").await;
    for (group, size) in [("g", 1), ("h", 2), ("i", 1)] {
        open(&backend, group, size).await;
    }
    let looks = Arc::new(Mutex::new(database.connection()));
    let parts = ["g", "h", "i"].into_iter().zip(0..).map(|(group, place)| {
        let looks = looks.clone();
        let seen = Body(move |came| {
            assert_eq!(looks.lock().unwrap().hlen::<_, usize>("unacked").unwrap(), 2);
            body_message(came)
        });
        let continuation: Arc<dyn ChordContinuation> = Arc::new(WithRecount(seen, recount));
        (part(group, "a", place, &place.to_string()), continuation)
    });
    settle(&*consumer, vec![settlement(parts.collect())]).await.unwrap();
    assert_eq!(
        (listed(&mut redis, "bodies"), listed(&mut redis, "own")),
        (vec!["0".into(), "2".into()], vec!["a".into()])
    );
    assert_eq!(redis.zcard::<_, usize>("celery-taskset-meta-h.j").unwrap(), 1);
    nothing_left(&mut redis, "g");
    nothing_left(&mut redis, "i");
}

/// Many consumers settle parts of one chord at the same time, all of them acked before.
#[tokio::test(flavor = "multi_thread")]
async fn many_consumers_make_one_recount_message() {
    let database = fresh_database();
    let mut redis = database.connection();
    let (broker, backend) = store(&database.url);
    open(&backend, "g", 100).await;
    let mut consumers = Vec::new();
    for _ in 0..5 {
        consumers.push(consumer(&broker, "q").await);
    }
    let settled = consumers.iter().enumerate().flat_map(|(n, consumer)| {
        (0..20).map(move |m| {
            let place = n * 20 + m;
            let settlement = last_part(part("g", &format!("t{place}"), place as i64, &place.to_string()));
            async move { settle(&**consumer, vec![settlement]).await.unwrap() }
        })
    });
    futures_util::future::join_all(settled).await;
    let wanted: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    assert_eq!(listed(&mut redis, "bodies"), [wanted.join(" ")]);
    assert_eq!(keys(&mut redis, "recounts*"), Vec::<String>::new());
    until("an empty hash", || !redis.exists::<_, bool>("unacked").unwrap()).await;
    nothing_left(&mut redis, "g");
}
