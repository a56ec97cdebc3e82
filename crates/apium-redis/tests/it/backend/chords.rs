//! Chords counted on Celery's keys, by Apium alone and together with Celery.

use std::path::Path;
use std::time::Duration;

use apium_peers::celery::CeleryWorker;
use apium_peers::python::run_python;
use apium_peers::redis::{Commands, Connection};
use apium_peers::redis_server::fresh_database;
use apium_protocol::json::base64;
use apium_protocol::json::text::Json;
use apium_protocol::result::document::{GroupDocument, ResultTuple};
use apium_protocol::result::state::State;
use apium_redis::RedisBackend;
use apium_transport::backend::backend::ResultBackend as _;
use apium_transport::backend::chord::{ChordCount, ChordEnd, ChordHeader, ChordPart, ChordProgress, FailedPart};
use serde_json::Value;

use crate::kit::{backend_with, fresh, record};

const TTL: Option<Duration> = Some(Duration::from_secs(86_400));

fn json(text: &str) -> Json {
    Json::from_text(text).unwrap()
}

fn part(group: &str, id: &str, place: i64, result: &str) -> ChordPart {
    let mut part = ChordPart::new(
        group.to_owned(),
        id.into(),
        State::Success,
        json(result),
        format!("claimant-{id}"),
        Duration::from_secs(30),
    );
    part.group_index = Some(place);
    part.ttl = TTL;
    part
}

async fn open(backend: &RedisBackend, group: &str, size: u64) {
    let mut header = ChordHeader::new(group.to_owned(), size);
    header.ttl = TTL;
    backend.chords().unwrap().open(header).await.unwrap();
}

async fn done(backend: &RedisBackend, part: ChordPart) -> ChordProgress {
    backend.chords().unwrap().part_done(part).await.unwrap()
}

async fn end(backend: &RedisBackend, group: &str, claimant: &str, end: ChordEnd) -> bool {
    backend.chords().unwrap().end(group, claimant, end).await.unwrap()
}

fn complete(results: &[&str]) -> ChordProgress {
    ChordProgress::Complete(results.iter().map(|text| json(text)).collect())
}

/// The keys of a chord: suffix and value. Asserts that they expire after a day.
fn keys(redis: &mut Connection, group: &str) -> Vec<(String, Value)> {
    let prefix = format!("celery-taskset-meta-{group}");
    let mut names: Vec<String> = redis.keys(format!("{prefix}*")).unwrap();
    names.sort();
    let mut found = Vec::new();
    for name in names {
        let value: Value = match name.rsplit('.').next().unwrap() {
            "j" => {
                let parts: Vec<(String, f64)> = redis.zrange_withscores(&name, 0, -1).unwrap();
                serde_json::to_value(parts).unwrap()
            }
            "d" => {
                let mut members: Vec<String> = redis.smembers(&name).unwrap();
                members.sort();
                members.into()
            }
            _ => redis.get::<_, String>(&name).unwrap().into(),
        };
        found.push((name[prefix.len()..].to_owned(), value));
    }
    found
}

#[tokio::test]
async fn the_keys_of_a_running_chord_are_celerys() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/chord_keys_running.json");
    let vector: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let group = vector["group_id"].as_str().unwrap();
    let prefix = format!("celery-taskset-meta-{group}");
    let of = |state: &str| -> Vec<(String, Value)> {
        let all = vector[state].as_object().unwrap().iter();
        let mut own: Vec<_> =
            all.filter_map(|(key, at)| Some((key.strip_prefix(&prefix)?.to_owned(), at["value"].clone()))).collect();
        own.sort_by(|a, b| a.0.cmp(&b.0));
        own
    };
    let (mut redis, backend) = fresh();
    open(&backend, group, 3).await;
    let id = |last: &str| format!("cafe0000-0000-4000-8000-0000000002{last}");
    assert_eq!(done(&backend, part(group, &id("01"), 0, "2")).await, ChordProgress::Waiting);
    assert_eq!(done(&backend, part(group, &id("03"), 2, "10")).await, ChordProgress::Waiting);
    assert_eq!(keys(&mut redis, group), of("keys_while_running"));
    for suffix in [".j", ".s", ".d"] {
        assert!((86_390..=86_400).contains(&redis.ttl::<_, i64>(format!("{prefix}{suffix}")).unwrap()), "{suffix}");
    }
    assert_eq!(done(&backend, part(group, &id("02"), 1, "3")).await, complete(&["2", "3", "10"]));
    assert!(end(&backend, group, &format!("claimant-{}", id("02")), ChordEnd::Fired).await);
    assert_eq!(keys(&mut redis, group), of("keys_after"));
    assert!((290..=300).contains(&redis.ttl::<_, i64>(format!("{prefix}.c")).unwrap()));
}

#[tokio::test]
async fn one_caller_gets_the_results_and_copies_count_once() {
    let (mut redis, backend) = fresh();
    open(&backend, "g", 2).await;
    for _ in 0..3 {
        assert_eq!(done(&backend, part("g", "a", 0, "1")).await, ChordProgress::Waiting, "the same part again");
    }
    assert_eq!(done(&backend, part("g", "b", 1, "2")).await, complete(&["1", "2"]));
    assert_eq!(done(&backend, part("g", "a", 0, "1")).await, ChordProgress::Waiting, "another has the claim");
    assert_eq!(done(&backend, part("g", "b", 1, "2")).await, complete(&["1", "2"]), "the claimant asks again");
    // The claimant dies: its claim runs out.
    let () = redis.del("celery-taskset-meta-g.c").unwrap();
    assert_eq!(done(&backend, part("g", "a", 0, "1")).await, complete(&["1", "2"]));
    assert!(!end(&backend, "g", "claimant-b", ChordEnd::Fired).await, "a lost claim ends nothing");
    assert!(end(&backend, "g", "claimant-a", ChordEnd::Fired).await);
    assert_eq!(done(&backend, part("g", "b", 1, "2")).await, ChordProgress::Fired);
    // The header is sent once more, since its sender's message was delivered twice. It sends no second body.
    open(&backend, "g", 2).await;
    assert_eq!(done(&backend, part("g", "a", 0, "1")).await, ChordProgress::Fired);
    assert_eq!(backend.chords().unwrap().count("g").await.unwrap(), None);
    // When that is forgotten, it is another chord.
    let () = redis.del("celery-taskset-meta-g.c").unwrap();
    open(&backend, "g", 1).await;
    assert_eq!(done(&backend, part("g", "b", 0, "7")).await, complete(&["7"]));
}

#[tokio::test]
async fn a_header_that_is_sent_again_takes_a_claim_away_and_nothing_else() {
    let (_redis, backend) = fresh();
    open(&backend, "g", 2).await;
    assert_eq!(done(&backend, part("g", "a", 0, "1")).await, ChordProgress::Waiting);
    assert_eq!(done(&backend, part("g", "b", 1, "2")).await, complete(&["1", "2"]));
    open(&backend, "g", 2).await;
    assert!(!end(&backend, "g", "claimant-b", ChordEnd::Fired).await);
    assert_eq!(done(&backend, part("g", "a", 0, "1")).await, complete(&["1", "2"]), "what was counted is still there");
}

#[tokio::test]
async fn a_chord_grows_and_says_how_far_it_is() {
    for ordered in ["True", "False"] {
        let database = fresh_database();
        let mut redis = database.connection();
        let backend = backend_with(&database.url, &[("result_chord_ordered", ordered)]);
        let chords = backend.chords().unwrap();
        let count = async || chords.count("g").await.unwrap();
        assert_eq!(count().await, None);
        open(&backend, "g", 1).await;
        assert_eq!(count().await, Some(ChordCount::new(0, 1)));
        chords.grow("g", &"x".into(), None).await.unwrap();
        assert_eq!(redis.ttl::<_, i64>("celery-taskset-meta-g.t").unwrap(), -1);
        for added in ["y", "z"] {
            chords.grow("g", &added.into(), TTL).await.unwrap();
        }
        // Celery's counter, which its workers read and raise too.
        assert_eq!(redis.get::<_, String>("celery-taskset-meta-g.t").unwrap(), "3");
        assert!((86_390..=86_400).contains(&redis.ttl::<_, i64>("celery-taskset-meta-g.t").unwrap()));
        for (place, id) in [(0, "a"), (1, "b"), (2, "c")] {
            assert_eq!(done(&backend, part("g", id, place, "1")).await, ChordProgress::Waiting, "of four");
        }
        assert_eq!(count().await, Some(ChordCount::new(3, 4)));
        assert_eq!(done(&backend, part("g", "d", 3, "1")).await, complete(&["1"; 4]));
        assert_eq!(count().await, Some(ChordCount::new(4, 4)));
        assert!(end(&backend, "g", "claimant-d", ChordEnd::Fired).await);
        assert_eq!(count().await, None);
    }
}

#[tokio::test]
async fn many_workers_complete_a_chord_once() {
    let (_redis, backend) = fresh();
    open(&backend, "g", 200).await;
    let parts = (0..200).map(|n| done(&backend, part("g", &format!("t{n}"), n, &n.to_string())));
    let answers = futures_util::future::join_all(parts).await;
    let results: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    let wanted = complete(&results.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(answers.iter().filter(|progress| **progress == wanted).count(), 1);
    assert_eq!(answers.iter().filter(|progress| **progress == ChordProgress::Waiting).count(), 199);
}

#[tokio::test]
async fn a_failed_part_fails_the_chord_once_all_have_come() {
    let (mut redis, backend) = fresh();
    open(&backend, "g", 2).await;
    let exception = r#"{"exc_type": "ValueError", "exc_message": ["boom"], "exc_module": "builtins"}"#;
    let mut failed = part("g", "a", 0, exception);
    failed.state = State::Failure;
    assert_eq!(done(&backend, failed.clone()).await, ChordProgress::Waiting);
    let wanted = ChordProgress::Failed(FailedPart::new("a".into(), State::Failure, json(exception)));
    assert_eq!(done(&backend, part("g", "b", 1, "2")).await, wanted);
    assert!(end(&backend, "g", "claimant-b", ChordEnd::Failed).await);
    assert_eq!(done(&backend, failed).await, ChordProgress::Waiting, "it does not fail again");
    assert!(!redis.exists::<_, bool>("celery-taskset-meta-g.s").unwrap());
}

#[tokio::test]
async fn parts_may_come_before_the_size_and_without_a_place() {
    let database = fresh_database();
    let backend = backend_with(&database.url, &[("result_chord_ordered", "False")]);
    let mut first = part("g", "a", 0, "1");
    first.group_index = None;
    assert_eq!(done(&backend, first.clone()).await, ChordProgress::Waiting);
    open(&backend, "g", 1).await;
    assert_eq!(done(&backend, first).await, complete(&["1"]));
    let listed: Vec<String> = database.connection().lrange("celery-taskset-meta-g.j", 0, -1).unwrap();
    assert_eq!(listed, [r#"[1, "a", "SUCCESS", 1]"#]);

    let (mut redis, backend) = fresh();
    open(&backend, "g", 1).await;
    // The header grew while it ran.
    let () = redis.set("celery-taskset-meta-g.t", 1).unwrap();
    let mut late = part("g", "late", 0, "9");
    late.group_index = None;
    assert_eq!(done(&backend, late).await, ChordProgress::Waiting);
    assert_eq!(done(&backend, part("g", "a", 0, "1")).await, complete(&["1", "9"]));
}

#[tokio::test]
async fn the_results_of_groups_in_a_header_are_nested() {
    let (_redis, backend) = fresh();
    let inner = ResultTuple::group("inner", vec![ResultTuple::task("b"), ResultTuple::task("c")]);
    let structure = Some(GroupDocument::new(ResultTuple::group("g", vec![ResultTuple::task("a"), inner])));
    let header = |group: &str| {
        let mut header = ChordHeader::new(group.to_owned(), 3);
        header.structure = structure.clone();
        header.ttl = TTL;
        header
    };
    let chords = backend.chords().unwrap();
    chords.open(header("g")).await.unwrap();
    for (place, id) in [(0, "a"), (1, "b")] {
        backend.store(vec![record(id, State::Success, None)]).await.unwrap();
        assert_eq!(done(&backend, part("g", id, place, "1")).await, ChordProgress::Waiting);
    }
    // One result is missing, so they cannot be joined.
    let missing = FailedPart::new("c".into(), State::Pending, Json::NULL);
    assert_eq!(done(&backend, part("g", "c", 2, "1")).await, ChordProgress::Failed(missing));
    backend.store(vec![record("c", State::Success, None)]).await.unwrap();
    let wanted = complete(&[r#""SUCCESS""#, r#"["SUCCESS", "SUCCESS"]"#]);
    assert_eq!(done(&backend, part("g", "c", 2, "1")).await, wanted);
}

/// A real Celery worker and Apium share a chord: one task of the header is in the queue `ours`, which only Apium
/// serves.
#[tokio::test(flavor = "multi_thread")]
async fn celery_and_apium_count_together() {
    let database = fresh_database();
    let (mut redis, backend) = (database.connection(), crate::kit::backend(&database.url));
    let _worker = CeleryWorker::builder().urls(&database.url, &database.url).args(["-c", "1"]).start();
    let env = [("BROKER_URL", &*database.url), ("RESULT_BACKEND", &*database.url)];
    for ours_is_last in [true, false] {
        let send = "import tasks as app; from celery import chord; header = [app.add.s(1, 1), app.add.s(2, 2).set(queue='ours')]\n\
                    body = chord(header)(app.echo.s()); print(body.id, body.parent.id, body.parent.results[0].id)";
        let send = if ours_is_last { send.to_owned() } else { in_other_queue(send) };
        let sent = run_python(["-c", &*send], &env);
        let [body, group, first] = sent.text().split(' ').collect::<Vec<_>>().try_into().unwrap();
        let raw: String = redis.rpop("ours", None).unwrap();
        let envelope: Value = serde_json::from_str(&raw).unwrap();
        let id = envelope["headers"]["id"].as_str().unwrap();
        let place = envelope["headers"]["group_index"].as_i64().unwrap();
        assert_eq!(envelope["headers"]["group"].as_str().unwrap(), group);
        let arguments = base64::decode(envelope["body"].as_str().unwrap()).unwrap();
        assert!(arguments.starts_with(b"[[2, 2]"));

        let mut stream = backend.watch(vec![first.into(), body.into()]).await.unwrap();
        let mut next = async || {
            use futures_util::StreamExt as _;
            crate::kit::soon("a result", stream.next()).await.unwrap().unwrap()
        };
        if ours_is_last {
            assert_eq!(next().await.task_id.as_str(), first);
            // Celery counts the part after it has stored the result.
            crate::kit::soon("the part of Celery", async {
                while redis.zcard::<_, u64>(format!("celery-taskset-meta-{group}.j")).unwrap() == 0 {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            assert_eq!(done(&backend, part(group, id, place, "4")).await, complete(&["2", "4"]));
            assert!(end(&backend, group, &format!("claimant-{id}"), ChordEnd::Fired).await);
        } else {
            assert_eq!(done(&backend, part(group, id, place, "4")).await, ChordProgress::Waiting);
            // Now Celery gets its own task.
            let waiting: String = redis.rpop("held", None).unwrap();
            let _: u64 = redis.lpush("celery", waiting).unwrap();
            assert_eq!(next().await.task_id.as_str(), first);
            let ended = next().await;
            assert_eq!((ended.task_id.as_str(), ended.state), (body, State::Success));
            assert_eq!(ended.result.as_str(), r#"{"args": [[2, 4]], "kwargs": {}}"#);
            assert_eq!(done(&backend, part(group, id, place, "4")).await, ChordProgress::Fired);
        }
    }
}

/// The same, with the first task in a queue that no worker serves.
fn in_other_queue(send: &str) -> String {
    send.replace("app.add.s(1, 1)", "app.add.s(1, 1).set(queue='held')")
}
