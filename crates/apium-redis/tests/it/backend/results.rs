//! Results on Celery's keys: what is stored, how many commands it takes, and what other workers have stored there.

use std::time::Duration;

use apium_peers::redis::{Commands, Connection, cmd};
use apium_peers::redis_server::{RedisServer, fresh_database};
use apium_protocol::json::base64;
use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use apium_protocol::result::state::State;
use apium_transport::backend::backend::{ResultBackend as _, ResultRecord, StoreResult};
use apium_transport::error::ErrorKind;

use crate::kit::{backend, backend_with, calls, connection, document, fresh, record, text, vector, version};

fn key(id: &str) -> String {
    format!("celery-task-meta-{id}")
}

/// How often each command was run, without those that this test itself uses.
fn calls_of_others(redis: &mut Connection) -> Vec<(String, u64)> {
    let looks = ["info", "config|resetstat", "client|setinfo", "select", "ping", "time", "role"];
    let mut calls = calls(redis);
    calls.retain(|(name, _)| !looks.contains(&&**name));
    calls.sort();
    calls
}

fn counts(pairs: &[(&str, u64)]) -> Vec<(String, u64)> {
    pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[tokio::test]
async fn feature_4_3_05_documents_are_celerys_byte_for_byte() {
    for name in ["result_success", "result_failure", "result_retry", "result_progress", "result_revoked_pending"] {
        let vector = vector(name);
        let (mut redis, backend) = fresh();
        let wanted = text(&vector, "/result/raw");
        let document = ResultDocument::from_json(wanted.as_bytes()).unwrap();
        let channel = text(&vector, "/published_on_channel/channel");
        let mut listening = fresh_listener(&backend, channel);
        let ttl = Some(Duration::from_secs(86_400));
        backend.store(vec![ResultRecord::new(document).kept_for(ttl)]).await.unwrap();
        let key = text(&vector, "/result/key");
        assert_eq!(redis.get::<_, String>(key).unwrap(), wanted, "{name}");
        assert!((86_390..=86_400).contains(&redis.ttl::<_, i64>(key).unwrap()));
        assert_eq!(published(&mut listening), (channel.to_owned(), wanted.to_owned()));
        let keys: Vec<String> = redis.keys("*").unwrap();
        assert_eq!(keys, [key], "{name}");
    }
}

/// A connection that is subscribed to a channel.
fn fresh_listener(backend: &apium_redis::RedisBackend, channel: &str) -> Connection {
    let client = apium_peers::redis::Client::open(backend.address().secret_text()).unwrap();
    let mut connection = client.get_connection().unwrap();
    connection.send_packed_command(&cmd("SUBSCRIBE").arg(channel).get_packed_command()).unwrap();
    connection.recv_response().unwrap();
    connection
}

fn published(connection: &mut Connection) -> (String, String) {
    let message: (String, String, String) =
        apium_peers::redis::from_redis_value(connection.recv_response().unwrap()).unwrap();
    (message.1, message.2)
}

#[tokio::test]
async fn feature_4_3_09_and_4_3_16_a_prefix_and_no_expiry_are_celerys() {
    let vector = vector("result_global_keyprefix_noexpire");
    let (name, lies) = vector["keys"].as_object().unwrap().iter().next().unwrap();
    let database = fresh_database();
    let backend = backend_with(&database.url, &[("global_keyprefix", "pref")]);
    let document = ResultDocument::from_json(text(lies, "/value").as_bytes()).unwrap();
    let id = document.task_id.clone();
    backend.store(vec![ResultRecord::new(document.clone())]).await.unwrap();
    let mut redis = database.connection();
    assert_eq!(redis.get::<_, String>(name).unwrap(), text(lies, "/value"));
    assert_eq!(redis.ttl::<_, i64>(name).unwrap(), -1);
    assert_eq!(backend.stored().unwrap().fetch(&[id]).await.unwrap(), [Some(document)]);
}

#[tokio::test]
async fn saved_groups_are_celerys() {
    let vector = vector("result_group_saved");
    let (mut redis, backend) = fresh();
    let groups = backend.groups().unwrap();
    let (key, wanted) = (text(&vector, "/key"), text(&vector, "/raw"));
    let id = key.strip_prefix("celery-taskset-meta-").unwrap();
    let () = redis.set(key, wanted).unwrap();
    let group = groups.load_group(id).await.unwrap().unwrap();
    groups.delete_group(id).await.unwrap();
    assert!(!redis.exists::<_, bool>(key).unwrap());
    groups.save_group(id, group, Some(Duration::from_secs(86_400))).await.unwrap();
    assert_eq!(redis.get::<_, String>(key).unwrap(), wanted);
    assert!((86_390..=86_400).contains(&redis.ttl::<_, i64>(key).unwrap()));
}

#[tokio::test]
async fn compressed_documents_are_opened() {
    let vector = vector("result_compressed_gzip");
    let (mut redis, backend) = fresh();
    let bytes = base64::decode(text(&vector, "/raw_b64")).unwrap();
    let () = redis.set(key("c"), &bytes[..]).unwrap();
    let found = backend.stored().unwrap().fetch(&["c".into()]).await.unwrap().remove(0).unwrap();
    assert_eq!((found.state, found.result), (State::Success, Json::from_serialize(&"A".repeat(300)).unwrap()));
    // A script in the server cannot decompress it: a ready state may replace it, another one may not.
    let stored = backend.store(vec![record("c", State::Started, version(9, 9)), record("c", State::Success, None)]);
    assert_eq!(stored.await.unwrap(), [StoreResult::Refused, StoreResult::Written]);
}

#[tokio::test]
async fn only_a_ready_state_replaces_a_document_that_the_server_cannot_read() {
    // What Python writes of half a surrogate pair, and deep nesting: the server's JSON reader refuses both. The status
    // is not the first key, or it would be found without that reader.
    let nested = format!("{}{}", "[".repeat(1_001), "]".repeat(1_001));
    for unreadable in [r#""\udce9.txt""#, r#""\ud83d""#, &nested] {
        let (mut redis, backend) = fresh();
        for status in ["STARTED", "SUCCESS"] {
            let document = format!(r#"{{"result": {unreadable}, "status": "{status}", "task_id": "{status}"}}"#);
            let () = redis.set(key(status), &document).unwrap();
            let progress = backend.store(vec![record(status, State::Started, version(9, 9))]).await.unwrap();
            assert_eq!(progress, [StoreResult::Refused], "{status}");
            assert_eq!(redis.get::<_, String>(key(status)).unwrap(), document);
            let end = backend.store(vec![record(status, State::Failure, version(0, 1))]).await.unwrap();
            assert_eq!(end, [StoreResult::Written], "{status}");
        }
        // The same with a result that it can read.
        let () = redis.set(key("r"), r#"{"result": "x.txt", "status": "STARTED", "task_id": "r"}"#).unwrap();
        let progress = backend.store(vec![record("r", State::Started, version(9, 9))]).await.unwrap();
        assert_eq!(progress, [StoreResult::Written]);
    }
}

#[tokio::test]
async fn documents_of_other_serializers_are_read_and_kept() {
    for serializer in ["msgpack", "yaml"] {
        let vector = vector(&format!("result_serializer_{serializer}"));
        let (mut redis, backend) = fresh();
        for (name, state) in [("success", State::Success), ("failure", State::Failure)] {
            let bytes = base64::decode(text(&vector, &format!("/{name}_b64"))).unwrap();
            let () = redis.set(key(name), &bytes[..]).unwrap();
            let found = backend.stored().unwrap().fetch(&[name.into()]).await.unwrap().remove(0).unwrap();
            assert_eq!(found.state, state, "{serializer}");
            match state {
                State::Success => assert_eq!(found.result.as_str(), r#"{"n": 1, "s": "caf\u00e9"}"#),
                _ => assert!(found.result.as_str().contains("KeyError"), "{}", found.result),
            }
            let stored = backend.store(vec![record(name, State::Started, version(0, 1))]).await.unwrap();
            assert_eq!(stored, [StoreResult::Refused], "{serializer}, {name}");
            let wanted = if state == State::Success { StoreResult::Refused } else { StoreResult::Written };
            let stored = backend.store(vec![record(name, State::Revoked, version(0, 1))]).await.unwrap();
            assert_eq!(stored, [wanted], "{serializer}, {name}");
        }
    }
}

#[tokio::test]
async fn pickled_documents_are_never_read() {
    let vector = vector("result_serializer_pickle");
    let (mut redis, backend) = fresh();
    let bytes = base64::decode(text(&vector, "/success_b64")).unwrap();
    let () = redis.set(key("p"), &bytes[..]).unwrap();
    let error = backend.stored().unwrap().fetch(&["p".into()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(format!("{error:#}").contains("pickle") && format!("{error:#}").contains(&key("p")), "{error:#}");
    assert_eq!(backend.store(vec![record("p", State::Started, None)]).await.unwrap(), [StoreResult::Refused]);
}

#[tokio::test]
async fn a_key_of_another_kind_is_an_error_that_says_so() {
    let (mut redis, backend) = fresh();
    let () = redis.lpush(key("t"), "x").unwrap();
    let error = backend.store(vec![record("t", State::Success, None)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn a_result_costs_a_set_and_a_publish() {
    let server = RedisServer::start();
    let backend = backend(&server.url(0));
    let mut redis = connection(&server);
    backend.store(vec![record("warm", State::Success, None)]).await.unwrap();
    let reset = |redis: &mut Connection| {
        let () = cmd("CONFIG").arg("RESETSTAT").query(redis).unwrap();
    };

    reset(&mut redis);
    let batch = (0..1024).map(|n| record(&n.to_string(), State::Success, version(0, n))).collect();
    backend.store(batch).await.unwrap();
    assert_eq!(calls_of_others(&mut redis), counts(&[("evalsha", 1), ("publish", 1024), ("set", 1024)]));

    reset(&mut redis);
    backend.store(vec![record("1", State::Success, version(0, 1))]).await.unwrap();
    assert_eq!(
        calls_of_others(&mut redis),
        counts(&[("evalsha", 1), ("get", 1), ("set", 1)]),
        "a result that is there"
    );

    reset(&mut redis);
    backend.store(vec![record("t", State::Retry, version(0, 1))]).await.unwrap();
    assert_eq!(
        calls_of_others(&mut redis),
        counts(&[("evalsha", 1), ("publish", 1), ("set", 2)]),
        "the first state of a run"
    );
    reset(&mut redis);
    backend.store(vec![record("t", State::Success, version(1, 2))]).await.unwrap();
    let wanted = counts(&[("del", 1), ("evalsha", 1), ("get", 1), ("publish", 1), ("set", 2)]);
    assert_eq!(calls_of_others(&mut redis), wanted, "a result after another state");
    let mut keys: Vec<String> = redis.keys("*t*").unwrap();
    keys.retain(|key| key.ends_with(".t") || key.ends_with("-t"));
    assert_eq!(keys, [key("t")], "nothing lies beside a final result");

    reset(&mut redis);
    let ids: Vec<TaskId> = (0..300).map(|n| TaskId::from(n.to_string())).collect();
    backend.stored().unwrap().fetch(&ids).await.unwrap();
    assert_eq!(calls_of_others(&mut redis), counts(&[("mget", 1)]));
}

#[tokio::test]
async fn a_batch_of_any_size_is_stored() {
    let (_redis, backend) = fresh();
    let large = "x".repeat(1 << 20);
    let mut records: Vec<ResultRecord> = (0..3000).map(|n| record(&n.to_string(), State::Success, None)).collect();
    for at in (0..3000).step_by(300) {
        records[at].document.result = Json::from_serialize(&large).unwrap();
    }
    assert!(backend.store(records).await.unwrap().iter().all(|stored| *stored == StoreResult::Written));
    let ids: Vec<TaskId> = (0..3000).map(|n| TaskId::from(n.to_string())).collect();
    let found = backend.stored().unwrap().fetch(&ids).await.unwrap();
    for (n, found) in found.into_iter().enumerate() {
        let found = found.unwrap();
        assert_eq!(found.task_id.as_str(), n.to_string());
        assert_eq!(found.result.as_bytes().len() > 1 << 20, n % 300 == 0);
    }
}

#[tokio::test]
async fn a_version_counts_for_its_own_document_only() {
    let (mut redis, backend) = fresh();
    let of = async |state: State, run| backend.store(vec![record("t", state, run)]).await.unwrap()[0];
    assert_eq!(of(State::Failure, version(3, 7)).await, StoreResult::Written);
    assert_eq!(of(State::Started, version(2, 8)).await, StoreResult::Refused);
    // A Celery worker writes a document without a version, so the version there does not belong to it.
    let retried = document("t", State::Retry).to_json();
    let () = redis.set(key("t"), retried).unwrap();
    assert_eq!(of(State::Started, version(2, 8)).await, StoreResult::Written);
    // Delivery numbers beyond the exact integers of a double are distinguished.
    assert_eq!(of(State::Failure, version(2, u64::MAX)).await, StoreResult::Written);
    assert_eq!(of(State::Started, version(2, u64::MAX)).await, StoreResult::Refused);
    assert_eq!(of(State::Started, version(2, u64::MAX - 1)).await, StoreResult::Written);
}

#[tokio::test]
async fn times_to_live_are_kept_to_the_millisecond() {
    let (mut redis, backend) = fresh();
    let with = |id: &str, ttl| record(id, State::Failure, version(0, 1)).kept_for(Some(ttl));
    let batch = vec![
        with("s", Duration::from_secs(100)),
        with("ms", Duration::from_millis(100_500)),
        with("ever", Duration::MAX),
    ];
    backend.store(batch).await.unwrap();
    for key in [key("s"), "_apium.run.s".to_owned()] {
        assert!((99_000..=100_000).contains(&redis.pttl::<_, i64>(key).unwrap()));
    }
    for key in [key("ms"), "_apium.run.ms".to_owned()] {
        assert!((100_001..=100_500).contains(&redis.pttl::<_, i64>(key).unwrap()));
    }
    assert_eq!(redis.pttl::<_, i64>(key("ever")).unwrap(), -1);
    backend.stored().unwrap().forget(vec!["s".into(), "ms".into(), "ever".into()]).await.unwrap();
    assert_eq!(redis.keys::<_, Vec<String>>("*").unwrap(), Vec::<String>::new());
}
