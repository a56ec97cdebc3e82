//! Settlements with follow-ups: the body of a chord, the end of the chord and the ack of its last part are one step.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apium_peers::proxy::Proxy;
use apium_peers::redis::{Commands, Connection};
use apium_peers::redis_server::{RedisServer, fresh_database};
use apium_protocol::json::text::Json;
use apium_protocol::result::document::{GroupDocument, ResultTuple};
use apium_protocol::result::state::State;
use apium_redis::{RedisBackend, RedisBroker, RedisDriver};
use apium_transport::address::Address;
use apium_transport::backend::backend::ResultBackend as _;
use apium_transport::backend::chord::{ChordHeader, ChordPart, ChordProgress, FailedPart};
use apium_transport::broker::broker::Broker as _;
use apium_transport::broker::consumer::{Consumer, Delivery};
use apium_transport::broker::follow_ups::{ChordContinuation, EndedPart, FollowUps};
use apium_transport::broker::settlement::{Acknowledgement, Disposition, Settlement};
use apium_transport::error::{ErrorKind, Result};

use crate::brokers::{consumer, finish, keys, names, options, send, spec, take, to};
use crate::kit::{connection, ran, record, soon, version, wait_for_silence};

pub(crate) const TTL: Option<Duration> = Some(Duration::from_secs(86_400));

/// A broker and a backend of one store.
pub(crate) fn store(url: &str) -> (RedisBroker, RedisBackend) {
    let driver = RedisDriver::new();
    let address = Address::parse(url).unwrap();
    (driver.open_broker(address.clone(), &options(&[])).unwrap(), driver.open_backend(address, &options(&[])).unwrap())
}

fn json(text: &str) -> Json {
    Json::from_text(text).unwrap()
}

pub(crate) fn header(group: &str, size: u64) -> ChordHeader {
    let mut header = ChordHeader::new(group.to_owned(), size);
    header.ttl = TTL;
    header
}

pub(crate) fn part(group: &str, id: &str, place: i64, result: &str) -> ChordPart {
    let mut part = ChordPart::new(
        group.to_owned(),
        id.into(),
        State::Success,
        json(result),
        format!("{group}:{id}"),
        Duration::from_secs(30),
    );
    part.group_index = Some(place);
    part.ttl = TTL;
    part
}

/// The continuation of a chord, as a closure.
pub(crate) struct Body<F>(pub(crate) F);

impl<F: Fn(Result<Vec<Json>, FailedPart>) -> FollowUps + Send + Sync> ChordContinuation for Body<F> {
    fn complete(&self, results: Vec<Json>) -> FollowUps {
        (self.0)(Ok(results))
    }

    fn failed(&self, part: FailedPart) -> FollowUps {
        (self.0)(Err(part))
    }
}

pub(crate) fn texts(results: &[Json]) -> String {
    results.iter().map(Json::as_str).collect::<Vec<_>>().join(" ")
}

/// A message to the queue `bodies` that says what the chord came to: the results, or which part failed.
pub(crate) fn body_message(came: Result<Vec<Json>, FailedPart>) -> FollowUps {
    let name = match came {
        Ok(results) => texts(&results),
        Err(part) => format!("{} {} {}", part.task_id, part.state.as_str(), part.exception.as_str()),
    };
    let mut follow_ups = FollowUps::default();
    follow_ups.publish = vec![to("bodies", &name)];
    follow_ups
}

pub(crate) fn counts(part: ChordPart, body: impl ChordContinuation + 'static) -> Option<Box<FollowUps>> {
    let parts = vec![EndedPart::new(part, Arc::new(body))];
    let mut follow_ups = FollowUps::default();
    follow_ups.parts = parts;
    Some(Box::new(follow_ups))
}

/// The settlement of a task of a header: its result, a message of its own, its part.
fn settlement(delivery: Option<&Delivery>, part: ChordPart, body: impl ChordContinuation + 'static) -> Settlement {
    let id = part.task_id.to_string();
    Settlement::default()
        .storing(Some(record(&id, part.state.clone(), version(0, 1))))
        .publishing(vec![to("own", &id)])
        .ending(delivery.map(|delivery| (delivery.receipt.clone(), Acknowledgement::Ack)))
        .following_up(counts(part, body))
}

pub(crate) async fn settle(consumer: &dyn Consumer, batch: Vec<Settlement>) -> Result<()> {
    soon("a settlement", consumer.acker().atomic().unwrap().settle(batch)).await
}

pub(crate) async fn open(backend: &RedisBackend, group: &str, size: u64) {
    backend.chords().unwrap().open(header(group, size)).await.unwrap();
}

pub(crate) async fn state(backend: &RedisBackend, id: &str) -> Option<State> {
    backend.stored().unwrap().fetch(&[id.into()]).await.unwrap().remove(0).map(|document| document.state)
}

/// The bodies of the messages in a list, in order.
pub(crate) fn listed(redis: &mut Connection, list: &str) -> Vec<String> {
    let all: Vec<String> = redis.lrange(list, 0, -1).unwrap();
    let body = |envelope: &String| {
        let envelope: serde_json::Value = serde_json::from_str(envelope).unwrap();
        String::from_utf8(apium_protocol::json::base64::decode(envelope["body"].as_str().unwrap()).unwrap()).unwrap()
    };
    all.iter().rev().map(body).collect()
}

/// The keys of a chord by their suffixes.
fn chord(redis: &mut Connection, group: &str) -> Vec<String> {
    let prefix = format!("celery-taskset-meta-{group}");
    keys(redis, &format!("{prefix}*")).iter().map(|key| key[prefix.len()..].to_owned()).collect()
}

fn claim(redis: &mut Connection, group: &str) -> Option<String> {
    redis.get(format!("celery-taskset-meta-{group}.c")).unwrap()
}

#[tokio::test]
async fn the_last_part_and_the_body_are_one_step() {
    let database = fresh_database();
    let mut redis = database.connection();
    let (broker, backend) = store(&database.url);
    let mut consumer = consumer(&broker, "q").await;
    // With late ack, and with early ack.
    for (group, late) in [("late", true), ("early", false)] {
        send(&broker, "q", &["a", "x", "b", "c"]).await;
        let batch = take(&mut consumer, 4).await;
        open(&backend, group, 3).await;
        let of = |at: usize| late.then_some(&batch[at]);
        let (a, b, c) = (part(group, "a", 0, "1"), part(group, "b", 1, "2"), part(group, "c", 2, "3"));
        if !late {
            consumer.acker().ack(crate::brokers::receipts(&batch)).await.unwrap();
        }
        settle(
            &*consumer,
            vec![
                settlement(of(1), part("other", "x", 0, "7"), Body(body_message)),
                settlement(of(3), c, Body(body_message)),
            ],
        )
        .await
        .unwrap();
        assert_eq!(listed(&mut redis, "bodies"), Vec::<String>::new());
        settle(&*consumer, vec![settlement(of(0), a, Body(body_message)), settlement(of(2), b, Body(body_message))])
            .await
            .unwrap();
        assert_eq!(listed(&mut redis, "bodies"), ["1 2 3"]);
        assert_eq!(listed(&mut redis, "own"), ["x", "c", "a", "b"]);
        for id in ["a", "b", "c", "x"] {
            assert_eq!(state(&backend, id).await, Some(State::Success));
        }
        assert_eq!(
            (chord(&mut redis, group), claim(&mut redis, group).unwrap()),
            (vec![".c".to_owned()], "done".to_owned())
        );
        assert_eq!(keys(&mut redis, "unacked*"), Vec::<String>::new());
        let () = redis.del(&["bodies", "own"]).unwrap();
    }
}

#[tokio::test]
async fn a_failed_part_fails_the_body() {
    let database = fresh_database();
    let mut redis = database.connection();
    let (broker, backend) = store(&database.url);
    let mut consumer = consumer(&broker, "q").await;
    send(&broker, "q", &["a", "b"]).await;
    let batch = take(&mut consumer, 2).await;
    open(&backend, "g", 2).await;
    let mut failed = part("g", "a", 0, "\"boom\"");
    failed.state = State::Failure;
    let settlements = vec![
        settlement(Some(&batch[0]), failed, Body(body_message)),
        settlement(Some(&batch[1]), part("g", "b", 1, "2"), Body(body_message)),
    ];
    settle(&*consumer, settlements).await.unwrap();
    assert_eq!(listed(&mut redis, "bodies"), ["a FAILURE \"boom\""]);
    assert!(!redis.exists::<_, bool>("celery-taskset-meta-g.s").unwrap(), "it is never complete again");
    settle(&*consumer, vec![settlement(None, part("g", "b", 1, "2"), Body(body_message))]).await.unwrap();
    assert_eq!(listed(&mut redis, "bodies").len(), 1);
    assert_eq!(keys(&mut redis, "unacked*"), Vec::<String>::new());
}

/// A chord in a chord: the continuation of the inner one is the last part of the outer one, and opens a third.
#[tokio::test]
async fn follow_ups_may_hold_results_chords_and_last_parts() {
    let database = fresh_database();
    let mut redis = database.connection();
    let (broker, backend) = store(&database.url);
    let mut consumer = consumer(&broker, "q").await;
    send(&broker, "q", &["a"]).await;
    let batch = take(&mut consumer, 1).await;
    open(&backend, "inner", 1).await;
    open(&backend, "outer", 2).await;
    let waiting = backend.chords().unwrap().part_done(part("outer", "o", 0, "10")).await.unwrap();
    assert_eq!(waiting, ChordProgress::Waiting);
    let inner = Body(|came: Result<Vec<Json>, FailedPart>| {
        let result = texts(&came.unwrap());
        let mut follow_ups = FollowUps::default();
        follow_ups.records = vec![record("body-of-inner", State::Success, None)];
        follow_ups.opens = vec![header("third", 1)];
        follow_ups.parts = vec![
            EndedPart::new(part("nowhere", "p", 0, "1"), Arc::new(Body(body_message))),
            EndedPart::new(part("outer", "p", 1, &result), Arc::new(Body(body_message))),
        ];
        follow_ups.publish = vec![to("bodies", "of the inner")];
        follow_ups
    });
    // Another part comes after the last part, and must be counted too.
    let mut settlement = settlement(Some(&batch[0]), part("inner", "a", 0, "1"), inner);
    let behind = EndedPart::new(part("nowhere", "a", 1, "2"), Arc::new(Body(body_message)));
    settlement.follow_ups.as_mut().unwrap().parts.push(behind);
    settle(&*consumer, vec![settlement]).await.unwrap();
    assert_eq!(listed(&mut redis, "bodies"), ["of the inner", "10 1"]);
    assert_eq!(listed(&mut redis, "own"), ["a"]);
    assert_eq!(state(&backend, "body-of-inner").await, Some(State::Success));
    assert_eq!(
        (claim(&mut redis, "inner").unwrap(), claim(&mut redis, "outer").unwrap()),
        ("done".into(), "done".into())
    );
    assert_eq!(chord(&mut redis, "third"), [".s"]);
    assert_eq!(redis.zcard::<_, usize>("celery-taskset-meta-nowhere.j").unwrap(), 2);
    assert_eq!(keys(&mut redis, "unacked*"), Vec::<String>::new());
}

#[tokio::test]
async fn the_results_of_groups_in_a_header_are_read_where_they_are_stored() {
    let database = fresh_database();
    let mut redis = database.connection();
    let (broker, _backend) = store(&database.url);
    let consumer = consumer(&broker, "q").await;
    let inner = ResultTuple::group("inner", vec![ResultTuple::task("b"), ResultTuple::task("c")]);
    let structure = Some(GroupDocument::new(ResultTuple::group("g", vec![ResultTuple::task("a"), inner])));
    let mut header = header("g", 3);
    header.structure = structure;
    let opens = vec![header];
    let mut own_follow_ups = FollowUps::default();
    own_follow_ups.opens = opens;
    let follow_ups = Some(Box::new(own_follow_ups));
    settle(&*consumer, vec![Settlement::default().following_up(follow_ups)]).await.unwrap();
    assert_eq!(chord(&mut redis, "g"), ["", ".s"]);
    let settlements = ["a", "b", "c"]
        .iter()
        .zip(0..)
        .map(|(id, place)| settlement(None, part("g", id, place, "0"), Body(body_message)));
    settle(&*consumer, settlements.collect()).await.unwrap();
    assert_eq!(listed(&mut redis, "bodies"), [r#""SUCCESS" ["SUCCESS", "SUCCESS"]"#]);
}

#[tokio::test]
async fn a_claim_of_another_is_left_to_it() {
    let database = fresh_database();
    let mut redis = database.connection();
    let (broker, backend) = store(&database.url);
    let mut consumer = consumer(&broker, "q").await;
    send(&broker, "q", &["a", "b", "c"]).await;
    let batch = take(&mut consumer, 3).await;
    open(&backend, "g", 1).await;
    let () = redis.set("celery-taskset-meta-g.c", "another").unwrap();
    settle(&*consumer, vec![settlement(Some(&batch[0]), part("g", "a", 0, "1"), Body(body_message))]).await.unwrap();
    // It loses its claim after it got it.
    open(&backend, "h", 1).await;
    let stolen = Mutex::new(database.connection());
    let lost = Body(move |came| {
        let () = stolen.lock().unwrap().set("celery-taskset-meta-h.c", "another").unwrap();
        let mut follow_ups = body_message(came);
        follow_ups.records = vec![record("body", State::Failure, None)];
        follow_ups.opens = vec![header("new", 1)];
        follow_ups
    });
    settle(&*consumer, vec![settlement(Some(&batch[1]), part("h", "b", 0, "1"), lost)]).await.unwrap();
    assert_eq!(
        (listed(&mut redis, "bodies"), listed(&mut redis, "own")),
        (vec![], vec!["a".to_owned(), "b".to_owned()])
    );
    assert_eq!((state(&backend, "body").await, chord(&mut redis, "new")), (None, vec![]));
    assert_eq!(claim(&mut redis, "h").unwrap(), "another");
    // The claim runs out and nobody else takes it: then it is its own again.
    open(&backend, "i", 1).await;
    let gone = Mutex::new(database.connection());
    let ran_out = Body(move |came| {
        let () = gone.lock().unwrap().del("celery-taskset-meta-i.c").unwrap();
        body_message(came)
    });
    settle(&*consumer, vec![settlement(Some(&batch[2]), part("i", "c", 0, "3"), ran_out)]).await.unwrap();
    assert_eq!(
        (listed(&mut redis, "bodies"), claim(&mut redis, "i").unwrap()),
        (vec!["3".to_owned()], "done".to_owned())
    );
    assert_eq!(keys(&mut redis, "unacked*"), Vec::<String>::new());
}

/// A worker is killed between the two calls: the message is delivered again, and the body is sent once.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_before_the_body_leaves_it_to_the_next() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let proxy = Arc::new(Proxy::to(server.port()));
    let (dying, _) = store(&format!("redis://127.0.0.1:{}/0", proxy.port()));
    let (broker, backend) = store(&server.url(0));
    open(&backend, "g", 2).await;
    send(&broker, "q", &["a", "b", "c"]).await;
    let mut first = consumer(&dying, "q").await;
    let batch = take(&mut first, 3).await;
    let (network, is_cut) = (proxy.clone(), Arc::new(tokio::sync::Notify::new()));
    let notify = is_cut.clone();
    let dies = Body(move |came| {
        // From here on the connections of this worker are cut.
        network.black_hole(true);
        notify.notify_one();
        body_message(came)
    });
    let settlements = vec![
        settlement(Some(&batch[0]), part("g", "a", 0, "1"), Body(body_message)),
        settlement(Some(&batch[1]), part("g", "b", 1, "2"), dies),
        Settlement::default().ending(Some((batch[2].receipt.clone(), Acknowledgement::Ack))),
    ];
    let acker = first.acker();
    tokio::select! {
        settled = acker.atomic().unwrap().settle(settlements) => panic!("{settled:?}"),
        () = is_cut.notified() => {}
    }
    drop(first);
    proxy.cut();
    // The part is counted and the message is in flight; nothing else is done.
    assert_eq!(listed(&mut redis, "bodies"), Vec::<String>::new());
    assert_eq!((listed(&mut redis, "own"), claim(&mut redis, "g").unwrap()), (vec!["a".to_owned()], "g:b".to_owned()));
    assert_eq!(redis.hlen::<_, usize>("unacked").unwrap(), 1);
    let mut second = consumer(&broker, "q").await;
    let redelivered = take(&mut second, 1).await;
    assert_eq!((names(&redelivered), redelivered[0].redelivered), (vec!["b".to_owned()], true));
    settle(&*second, vec![settlement(Some(&redelivered[0]), part("g", "b", 1, "2"), Body(body_message))])
        .await
        .unwrap();
    assert_eq!(
        (listed(&mut redis, "bodies"), listed(&mut redis, "own")),
        (vec!["1 2".to_owned()], vec!["a".into(), "b".into()])
    );
    assert_eq!((claim(&mut redis, "g").unwrap(), keys(&mut redis, "unacked*")), ("done".to_owned(), vec![]));
    // Its run had ended, so the death of the worker is no crash of the message.
    assert_eq!(keys(&mut redis, "_apium.crashes"), Vec::<String>::new());
}

/// The connection breaks between the two calls, and the worker tries the whole batch again: what was settled does not
/// count as lost, and nothing is sent twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_that_failed_before_the_body_is_tried_again() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let proxy = Arc::new(Proxy::to(server.port()));
    let driver = RedisDriver::new();
    let address = Address::parse(&format!("redis://127.0.0.1:{}/0", proxy.port())).unwrap();
    let with_short_timeout = options(&[("socket_timeout", "0.5")]);
    let (broker, backend) = (
        driver.open_broker(address.clone(), &with_short_timeout).unwrap(),
        driver.open_backend(address, &with_short_timeout).unwrap(),
    );
    for (group, reply_is_lost) in [("g", false), ("h", true)] {
        open(&backend, group, 2).await;
        send(&broker, "q", &["a", "b", "c"]).await;
        let mut lasting = spec(&["q"]);
        lasting.lease = Duration::from_secs(60);
        let mut consumer = broker.consume(lasting).await.unwrap();
        let batch = take(&mut consumer, 3).await;
        let breaks = Arc::new(AtomicUsize::new(1));
        let settlements = || {
            let (network, breaks) = (proxy.clone(), breaks.clone());
            let breaking = Body(move |came| {
                if breaks.swap(0, Ordering::SeqCst) == 1 {
                    match reply_is_lost {
                        // The server does it, but the reply is lost.
                        true => network.delay(Duration::from_millis(400)),
                        false => network.black_hole(true),
                    }
                }
                body_message(came)
            });
            vec![
                settlement(Some(&batch[0]), part(group, "a", 0, "1"), Body(body_message)),
                settlement(Some(&batch[1]), part(group, "b", 1, "2"), breaking),
                Settlement::default().ending(Some((batch[2].receipt.clone(), Acknowledgement::Ack))),
            ]
        };
        let error = settle(&*consumer, settlements()).await.unwrap_err();
        assert!(error.is_retryable(), "{error}");
        proxy.black_hole(false);
        proxy.delay(Duration::ZERO);
        soon("the settlement in the end", async {
            while let Err(error) = settle(&*consumer, settlements()).await {
                assert!(error.is_retryable() && error.kind() != ErrorKind::LeaseLost, "{error}");
            }
        })
        .await;
        assert_eq!(
            (listed(&mut redis, "bodies"), listed(&mut redis, "own")),
            (vec!["1 2".to_owned()], vec!["a".into(), "b".into()])
        );
        assert_eq!((claim(&mut redis, group).unwrap(), keys(&mut redis, "unacked*")), ("done".to_owned(), vec![]));
        // A further attempt finds it lost.
        assert_eq!(settle(&*consumer, settlements()).await.unwrap_err().kind(), ErrorKind::LeaseLost);
        let () = redis.del(&["bodies", "own"]).unwrap();
    }
}

/// A worker is held up between the two calls and taken for dead: it does not send a second body.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_taken_for_dead_sends_no_second_body() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let (broker, backend) = store(&server.url(0));
    open(&backend, "g", 1).await;
    let mut first = consumer(&broker, "q").await;
    send(&broker, "q", &["a"]).await;
    let batch = take(&mut first, 1).await;
    let others = Mutex::new(connection(&server));
    let held_up = Body(move |came| {
        // Others reclaim its message and settle it, with a claim of the same name.
        let redis = &mut *others.lock().unwrap();
        let () = redis.del(&["unacked", "unacked_index"]).unwrap();
        body_message(came)
    });
    let error = settle(&*first, vec![settlement(Some(&batch[0]), part("g", "a", 0, "1"), held_up)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error}");
    assert_eq!((listed(&mut redis, "bodies"), listed(&mut redis, "own")), (vec![], vec![]));
    assert_eq!(claim(&mut redis, "g").unwrap(), "g:a", "whoever has the delivery now goes on");
    settle(&*first, vec![settlement(None, part("g", "a", 0, "1"), Body(body_message))]).await.unwrap();
    assert_eq!(listed(&mut redis, "bodies"), ["1"]);
}

#[tokio::test]
async fn the_acknowledgement_waits_for_the_body() {
    let database = fresh_database();
    let mut redis = database.connection();
    let (broker, backend) = store(&database.url);
    let mut consumer = consumer(&broker, "q").await;
    send(&broker, "q", &["a"]).await;
    let batch = take(&mut consumer, 1).await;
    open(&backend, "g", 1).await;
    let looks = Mutex::new(database.connection());
    let seen = Body(move |came| {
        let redis = &mut *looks.lock().unwrap();
        assert!(!redis.exists::<_, bool>("_apium.dead").unwrap());
        assert_eq!(redis.zcard::<_, usize>("unacked_index").unwrap(), 1);
        body_message(came)
    });
    let reason = apium_transport::broker::dead_set::DeadReason::new("rejected", "no".to_owned());
    let mut settlement = settlement(Some(&batch[0]), part("g", "a", 0, "1"), seen);
    settlement.delivery = Some((batch[0].receipt.clone(), Acknowledgement::Reject(Disposition::Dead(reason))));
    settle(&*consumer, vec![settlement]).await.unwrap();
    assert_eq!(
        (listed(&mut redis, "bodies"), broker.dead().unwrap().count().await.unwrap()),
        (vec!["1".to_owned()], 1)
    );
    assert_eq!(keys(&mut redis, "unacked*"), Vec::<String>::new());
}

/// If the body cannot be sent or the results cannot be read, the body fails, as in Celery. Otherwise its callers would
/// wait for ever.
#[tokio::test]
async fn a_body_that_cannot_be_made_is_failed() {
    let database = fresh_database();
    let mut redis = database.connection();
    let (broker, backend) = store(&database.url);
    let consumer = consumer(&broker, "q").await;
    open(&backend, "g", 1).await;
    let astray = Body(|came: Result<Vec<Json>, FailedPart>| match came {
        Ok(_) => {
            let mut message = to("x", "x");
            message.exchange = "missing".into();
            let mut follow_ups = FollowUps::default();
            follow_ups.publish = vec![message];
            follow_ups
        }
        failed => body_message(failed),
    });
    settle(&*consumer, vec![settlement(None, part("g", "a", 0, "1"), astray)]).await.unwrap();
    open(&backend, "h", 2).await;
    let _: usize = redis.zadd("celery-taskset-meta-h.j", "no part", 0).unwrap();
    settle(&*consumer, vec![settlement(None, part("h", "b", 1, "1"), Body(body_message))]).await.unwrap();
    let bodies = listed(&mut redis, "bodies");
    for (body, words) in bodies.iter().zip([["a FAILURE", "Callback error"], ["b FAILURE", "Join error"]]) {
        assert!(words.iter().all(|word| body.contains(word)) && body.contains("ChordError"), "{body}");
    }
    assert_eq!(bodies.len(), 2);
}

/// Commands that settling uses, and that the maintenance of a new consumer does not.
const INNER: &[&str] = &["zrem", "hdel", "hexists", "set", "publish", "get", "sadd", "zadd", "zcard", "pexpire", "del"];

#[tokio::test]
async fn a_part_costs_no_round_trip_of_its_own_and_a_thousand_few() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let (broker, backend) = store(&server.url(0));
    let mut spec = spec(&["q"]);
    spec.lease = Duration::from_secs(600);
    let mut consumer = broker.consume(spec).await.unwrap();
    let all: Vec<String> = (0..1010).map(|n| format!("t{n}")).collect();
    send(&broker, "q", &all.iter().map(String::as_str).collect::<Vec<_>>()).await;
    send(&broker, "bodies", &["bound now"]).await;
    let batch = take(&mut consumer, 1010).await;
    wait_for_silence(&mut redis);
    open(&backend, "g", 1000).await;
    open(&backend, "h", 3).await;
    let acked = |at: usize| Settlement::default().ending(Some((batch[at].receipt.clone(), Acknowledgement::Ack)));
    let part_of = |at: usize, group: &str, place: i64| {
        settlement(Some(&batch[at]), part(group, &all[at], place, &at.to_string()), Body(body_message))
            .publishing(Vec::new())
    };
    let mut cost = async |batch: Vec<Settlement>| {
        let before = (ran(&mut redis, &["eval"]), ran(&mut redis, INNER));
        settle(&*consumer, batch).await.unwrap();
        (ran(&mut redis, &["eval"]) - before.0, ran(&mut redis, INNER) - before.1)
    };
    // So that the server knows the scripts.
    cost(vec![acked(1000), part_of(1006, "i", 0)]).await;
    cost(vec![acked(1007)]).await;
    assert_eq!(cost(vec![acked(1001)]).await, (1, 2), "ZREM, HDEL");
    let stored = acked(1002).storing(Some(record("t", State::Success, None)));
    assert_eq!(cost(vec![stored]).await, (1, 4), "SET, PUBLISH");
    let counted = cost(vec![part_of(1003, "h", 0)]).await;
    assert_eq!(counted, (1, 4 + 11), "GET claim, size and growth, SADD, ZADD, ZCARD, PEXPIRE of five");
    assert_eq!(cost(vec![part_of(1004, "h", 1), part_of(1005, "h", 2)]).await.0, 2, "the last one of a chord");
    let first: Vec<_> = (0..500).map(|at| part_of(at, "g", at as i64)).collect();
    assert_eq!(cost(first).await.0, 1);
    let second: Vec<_> = (500..1000).map(|at| part_of(at, "g", at as i64)).collect();
    assert_eq!(cost(second).await.0, 2);
    let wanted: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    finish(&mut crate::brokers::consumer(&broker, "bodies").await, &["bound now", "1003 1004 1005", &wanted.join(" ")])
        .await;
}

/// Many consumers settle parts of one chord at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn many_consumers_send_one_body() {
    let database = fresh_database();
    let mut redis = database.connection();
    let (broker, backend) = store(&database.url);
    open(&backend, "g", 100).await;
    let bodies = Arc::new(AtomicUsize::new(0));
    let mut consumers = Vec::new();
    for _ in 0..5 {
        consumers.push(consumer(&broker, "q").await);
    }
    let settled = consumers.iter().enumerate().flat_map(|(n, consumer)| {
        let bodies = &bodies;
        (0..20).map(move |m| {
            let (place, bodies) = (n * 20 + m, bodies.clone());
            let counted = Body(move |came| {
                bodies.fetch_add(1, Ordering::Relaxed);
                body_message(came)
            });
            let settlement =
                settlement(None, part("g", &format!("t{place}"), place as i64, &place.to_string()), counted);
            async move { settle(&**consumer, vec![settlement]).await.unwrap() }
        })
    });
    futures_util::future::join_all(settled).await;
    let wanted: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    assert_eq!((bodies.load(Ordering::Relaxed), listed(&mut redis, "bodies")), (1, vec![wanted.join(" ")]));
}
