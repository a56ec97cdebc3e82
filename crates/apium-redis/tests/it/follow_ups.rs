//! Ends of runs with what they do to their workflows: the last part of a chord, its body and its ack are one step.

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
use crate::kit::{connection, mark, record, soon};

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

/// What follows a header, as a closure.
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

/// A message to the queue `bodies` that says what came: the results, or which part failed.
pub(crate) fn told(came: Result<Vec<Json>, FailedPart>) -> FollowUps {
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

/// The end of a task of a header: its result, a message of its own, its part.
fn end(delivery: Option<&Delivery>, part: ChordPart, body: impl ChordContinuation + 'static) -> Settlement {
    let id = part.task_id.to_string();
    let mut settlement = Settlement::default();
    settlement.record = Some(record(&id, part.state.clone(), mark(0, 1)));
    settlement.publish = vec![to("own", &id)];
    settlement.delivery = delivery.map(|delivery| (delivery.receipt.clone(), Acknowledgement::Ack));
    settlement.follow_ups = counts(part, body);
    settlement
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

/// What lies in a list, the first in front.
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
async fn the_last_part_takes_the_body_with_it() {
    let database = fresh_database();
    let mut redis = database.connection();
    let (broker, backend) = store(&database.url);
    let mut consumer = consumer(&broker, "q").await;
    // Acked late, and before the runs.
    for (group, late) in [("late", true), ("early", false)] {
        send(&broker, "q", &["a", "x", "b", "c"]).await;
        let batch = take(&mut consumer, 4).await;
        open(&backend, group, 3).await;
        let of = |at: usize| late.then_some(&batch[at]);
        let (a, b, c) = (part(group, "a", 0, "1"), part(group, "b", 1, "2"), part(group, "c", 2, "3"));
        if !late {
            consumer.acker().ack(crate::brokers::receipts(&batch)).await.unwrap();
        }
        settle(&*consumer, vec![end(of(1), part("other", "x", 0, "7"), Body(told)), end(of(3), c, Body(told))])
            .await
            .unwrap();
        assert_eq!(listed(&mut redis, "bodies"), Vec::<String>::new());
        settle(&*consumer, vec![end(of(0), a, Body(told)), end(of(2), b, Body(told))]).await.unwrap();
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
    let ends = vec![end(Some(&batch[0]), failed, Body(told)), end(Some(&batch[1]), part("g", "b", 1, "2"), Body(told))];
    settle(&*consumer, ends).await.unwrap();
    assert_eq!(listed(&mut redis, "bodies"), ["a FAILURE \"boom\""]);
    assert!(!redis.exists::<_, bool>("celery-taskset-meta-g.s").unwrap(), "it is never complete again");
    settle(&*consumer, vec![end(None, part("g", "b", 1, "2"), Body(told))]).await.unwrap();
    assert_eq!(listed(&mut redis, "bodies").len(), 1);
    assert_eq!(keys(&mut redis, "unacked*"), Vec::<String>::new());
}

/// A chord in a chord: what follows of the inner one is the last part of the outer one, and opens a third.
#[tokio::test]
async fn what_follows_may_hold_records_chords_and_last_parts() {
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
            EndedPart::new(part("nowhere", "p", 0, "1"), Arc::new(Body(told))),
            EndedPart::new(part("outer", "p", 1, &result), Arc::new(Body(told))),
        ];
        follow_ups.publish = vec![to("bodies", "of the inner")];
        follow_ups
    });
    // The last part stands before another one, which may not be forgotten.
    let mut settlement = end(Some(&batch[0]), part("inner", "a", 0, "1"), inner);
    let behind = EndedPart::new(part("nowhere", "a", 1, "2"), Arc::new(Body(told)));
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
    let mut follow_ups = FollowUps::default();
    follow_ups.opens = vec![header];
    let mut settlement = Settlement::default();
    settlement.follow_ups = Some(Box::new(follow_ups));
    settle(&*consumer, vec![settlement]).await.unwrap();
    assert_eq!(chord(&mut redis, "g"), ["", ".s"]);
    let ends = ["a", "b", "c"].iter().zip(0..).map(|(id, place)| end(None, part("g", id, place, "0"), Body(told)));
    settle(&*consumer, ends.collect()).await.unwrap();
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
    settle(&*consumer, vec![end(Some(&batch[0]), part("g", "a", 0, "1"), Body(told))]).await.unwrap();
    // It loses its claim after it was told that it has it.
    open(&backend, "h", 1).await;
    let stolen = Mutex::new(database.connection());
    let lost = Body(move |came| {
        let () = stolen.lock().unwrap().set("celery-taskset-meta-h.c", "another").unwrap();
        let mut follow_ups = told(came);
        follow_ups.records = vec![record("body", State::Failure, None)];
        follow_ups.opens = vec![header("new", 1)];
        follow_ups
    });
    settle(&*consumer, vec![end(Some(&batch[1]), part("h", "b", 0, "1"), lost)]).await.unwrap();
    assert_eq!(
        (listed(&mut redis, "bodies"), listed(&mut redis, "own")),
        (vec![], vec!["a".to_owned(), "b".to_owned()])
    );
    assert_eq!((state(&backend, "body").await, chord(&mut redis, "new")), (None, vec![]));
    assert_eq!(claim(&mut redis, "h").unwrap(), "another");
    // It runs out, and nobody else has come: then it is its own again.
    open(&backend, "i", 1).await;
    let gone = Mutex::new(database.connection());
    let ran_out = Body(move |came| {
        let () = gone.lock().unwrap().del("celery-taskset-meta-i.c").unwrap();
        told(came)
    });
    settle(&*consumer, vec![end(Some(&batch[2]), part("i", "c", 0, "3"), ran_out)]).await.unwrap();
    assert_eq!(
        (listed(&mut redis, "bodies"), claim(&mut redis, "i").unwrap()),
        (vec!["3".to_owned()], "done".to_owned())
    );
    assert_eq!(keys(&mut redis, "unacked*"), Vec::<String>::new());
}

/// Whoever is killed between the two calls: the delivery comes again, and the body is sent once.
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
    let (cut, told_of) = (proxy.clone(), Arc::new(tokio::sync::Notify::new()));
    let tell = told_of.clone();
    let dies = Body(move |came| {
        // From here on nobody hears of it.
        cut.black_hole(true);
        tell.notify_one();
        told(came)
    });
    let mut settlement = Settlement::default();
    settlement.delivery = Some((batch[2].receipt.clone(), Acknowledgement::Ack));
    let ends = vec![
        end(Some(&batch[0]), part("g", "a", 0, "1"), Body(told)),
        end(Some(&batch[1]), part("g", "b", 1, "2"), dies),
        settlement,
    ];
    let acker = first.acker();
    tokio::select! {
        settled = acker.atomic().unwrap().settle(ends) => panic!("{settled:?}"),
        () = told_of.notified() => {}
    }
    drop(first);
    proxy.cut();
    // Nothing but counting is there, and the delivery.
    assert_eq!(listed(&mut redis, "bodies"), Vec::<String>::new());
    assert_eq!((listed(&mut redis, "own"), claim(&mut redis, "g").unwrap()), (vec!["a".to_owned()], "g:b".to_owned()));
    assert_eq!(redis.hlen::<_, usize>("unacked").unwrap(), 1);
    let mut second = consumer(&broker, "q").await;
    let again = take(&mut second, 1).await;
    assert_eq!((names(&again), again[0].redelivered), (vec!["b".to_owned()], true));
    settle(&*second, vec![end(Some(&again[0]), part("g", "b", 1, "2"), Body(told))]).await.unwrap();
    assert_eq!(
        (listed(&mut redis, "bodies"), listed(&mut redis, "own")),
        (vec!["1 2".to_owned()], vec!["a".into(), "b".into()])
    );
    assert_eq!((claim(&mut redis, "g").unwrap(), keys(&mut redis, "unacked*")), ("done".to_owned(), vec![]));
    // That its run had ended is no crash of it.
    assert_eq!(keys(&mut redis, "_apium.crashes"), Vec::<String>::new());
}

/// The connection breaks between the two calls, and the worker tries the whole batch again: what was settled is not lost, and
/// nothing is sent twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_that_failed_before_the_body_is_tried_again() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let proxy = Arc::new(Proxy::to(server.port()));
    let driver = RedisDriver::new();
    let address = Address::parse(&format!("redis://127.0.0.1:{}/0", proxy.port())).unwrap();
    let hasty = options(&[("socket_timeout", "0.5")]);
    let (broker, backend) =
        (driver.open_broker(address.clone(), &hasty).unwrap(), driver.open_backend(address, &hasty).unwrap());
    for (group, unheard) in [("g", false), ("h", true)] {
        open(&backend, group, 2).await;
        send(&broker, "q", &["a", "b", "c"]).await;
        let mut lasting = spec(&["q"]);
        lasting.lease = Duration::from_secs(60);
        let mut consumer = broker.consume(lasting).await.unwrap();
        let batch = take(&mut consumer, 3).await;
        let breaks = Arc::new(AtomicUsize::new(1));
        let ends = || {
            let (network, breaks) = (proxy.clone(), breaks.clone());
            let breaking = Body(move |came| {
                if breaks.swap(0, Ordering::SeqCst) == 1 {
                    match unheard {
                        // It is done, and nobody hears of that.
                        true => network.delay(Duration::from_millis(400)),
                        false => network.black_hole(true),
                    }
                }
                told(came)
            });
            let mut settlement_of_part = Settlement::default();
            settlement_of_part.delivery = Some((batch[2].receipt.clone(), Acknowledgement::Ack));
            vec![
                end(Some(&batch[0]), part(group, "a", 0, "1"), Body(told)),
                end(Some(&batch[1]), part(group, "b", 1, "2"), breaking),
                settlement_of_part,
            ]
        };
        let error = settle(&*consumer, ends()).await.unwrap_err();
        assert!(error.is_retryable(), "{error}");
        proxy.black_hole(false);
        proxy.delay(Duration::ZERO);
        soon("the settlement in the end", async {
            while let Err(error) = settle(&*consumer, ends()).await {
                assert!(error.is_retryable() && error.kind() != ErrorKind::LeaseLost, "{error}");
            }
        })
        .await;
        assert_eq!(
            (listed(&mut redis, "bodies"), listed(&mut redis, "own")),
            (vec!["1 2".to_owned()], vec!["a".into(), "b".into()])
        );
        assert_eq!((claim(&mut redis, group).unwrap(), keys(&mut redis, "unacked*")), ("done".to_owned(), vec![]));
        // Later it is as lost as any.
        assert_eq!(settle(&*consumer, ends()).await.unwrap_err().kind(), ErrorKind::LeaseLost);
        let () = redis.del(&["bodies", "own"]).unwrap();
    }
}

/// A worker that was held up between the two calls, and taken for dead: its body is not sent beside the other one.
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
        // Others bury it and settle its delivery, with the claim that has the same name.
        let redis = &mut *others.lock().unwrap();
        let () = redis.del(&["unacked", "unacked_index"]).unwrap();
        told(came)
    });
    let error = settle(&*first, vec![end(Some(&batch[0]), part("g", "a", 0, "1"), held_up)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error}");
    assert_eq!((listed(&mut redis, "bodies"), listed(&mut redis, "own")), (vec![], vec![]));
    assert_eq!(claim(&mut redis, "g").unwrap(), "g:a", "whoever has the delivery now goes on");
    settle(&*first, vec![end(None, part("g", "a", 0, "1"), Body(told))]).await.unwrap();
    assert_eq!(listed(&mut redis, "bodies"), ["1"]);
}

#[tokio::test]
async fn what_becomes_of_the_delivery_waits_for_the_body() {
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
        told(came)
    });
    let reason = apium_transport::broker::dead_set::DeadReason::new("rejected", "no".to_owned());
    let mut settlement = end(Some(&batch[0]), part("g", "a", 0, "1"), seen);
    settlement.delivery = Some((batch[0].receipt.clone(), Acknowledgement::Reject(Disposition::Dead(reason))));
    settle(&*consumer, vec![settlement]).await.unwrap();
    assert_eq!(
        (listed(&mut redis, "bodies"), broker.dead().unwrap().count().await.unwrap()),
        (vec!["1".to_owned()], 1)
    );
    assert_eq!(keys(&mut redis, "unacked*"), Vec::<String>::new());
}

/// A body that cannot be sent, and results that cannot be read, fail the body, as with Celery: nobody would hear of it otherwise.
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
        failed => told(failed),
    });
    settle(&*consumer, vec![end(None, part("g", "a", 0, "1"), astray)]).await.unwrap();
    open(&backend, "h", 2).await;
    let _: usize = redis.zadd("celery-taskset-meta-h.j", "no part", 0).unwrap();
    settle(&*consumer, vec![end(None, part("h", "b", 1, "1"), Body(told))]).await.unwrap();
    let bodies = listed(&mut redis, "bodies");
    for (body, words) in bodies.iter().zip([["a FAILURE", "Callback error"], ["b FAILURE", "Join error"]]) {
        assert!(words.iter().all(|word| body.contains(word)) && body.contains("ChordError"), "{body}");
    }
    assert_eq!(bodies.len(), 2);
}

/// How often commands whose names begin with one of these were run, those inside of scripts included.
pub(crate) fn ran(redis: &mut Connection, names: &[&str]) -> usize {
    let stats: String = apium_peers::redis::cmd("INFO").arg("commandstats").query(redis).unwrap();
    let one = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let calls = rest.split(',').next()?.parse::<usize>().ok()?;
        names.iter().any(|wanted| name.starts_with(wanted)).then_some(calls)
    };
    stats.lines().filter_map(one).sum()
}

/// What settling needs and the attendant of a consumer that has just begun does not.
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
    open(&backend, "g", 1000).await;
    open(&backend, "h", 3).await;
    let acked = |at: usize| {
        let mut settlement = Settlement::default();
        settlement.delivery = Some((batch[at].receipt.clone(), Acknowledgement::Ack));
        settlement
    };
    let part_of = |at: usize, group: &str, place: i64| {
        let mut settlement = end(Some(&batch[at]), part(group, &all[at], place, &at.to_string()), Body(told));
        settlement.publish = Vec::new();
        settlement
    };
    let mut cost = async |batch: Vec<Settlement>| {
        let before = (ran(&mut redis, &["eval"]), ran(&mut redis, INNER));
        settle(&*consumer, batch).await.unwrap();
        (ran(&mut redis, &["eval"]) - before.0, ran(&mut redis, INNER) - before.1)
    };
    // The server learns the scripts.
    cost(vec![acked(1000), part_of(1006, "i", 0)]).await;
    cost(vec![acked(1007)]).await;
    assert_eq!(cost(vec![acked(1001)]).await, (1, 2), "ZREM, HDEL");
    let mut stored = acked(1002);
    stored.record = Some(record("t", State::Success, None));
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
                told(came)
            });
            let end = end(None, part("g", &format!("t{place}"), place as i64, &place.to_string()), counted);
            async move { settle(&**consumer, vec![end]).await.unwrap() }
        })
    });
    futures_util::future::join_all(settled).await;
    let wanted: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    assert_eq!((bodies.load(Ordering::Relaxed), listed(&mut redis, "bodies")), (1, vec![wanted.join(" ")]));
}
