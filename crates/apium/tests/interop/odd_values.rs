//! What Python may send and few programs do: texts that are not Unicode, the first and the last instant, deep nesting,
//! maps that look like kombu's envelopes, and messages of others.

use std::time::Duration;

use apium_peers::redis::Commands;
use serde_json::json;

use crate::kit::deployment::Deployment;
use crate::kit::side::Side;

/// Lists inside each other.
fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

on_every_pair! {
    async fn half_a_surrogate_pair_runs_and_returns_unchanged(pair: &Pair) {
        // The name of a file on a disk with Latin-1 names, as `os.listdir` returns it.
        for value in [r#""\udce9.txt""#, r#"["\ud83d", {"\ude00": "\ude00\ud83d"}]"#] {
            let id = pair.call_text("tasks.identity", &format!("[{value}]"), json!({}), &[]).await;
            let seen = pair.text(&id).await;
            assert_eq!((&*seen.state, &*seen.text), ("SUCCESS", value));
        }
    }

    async fn half_a_surrogate_pair_passes_through_a_chain_and_a_chord(pair: &Pair) {
        let value = r#""\udce9.txt""#;
        let steps = ["tasks.identity", "tasks.identity"];
        let id = pair.call_text("tasks.identity", &format!("[{value}]"), json!({}), &steps).await;
        assert_eq!(pair.text(&id).await.text, value);
        let id = pair.chord_text("tasks.identity", &format!("[{value}, 1]"), "tasks.identity").await;
        assert_eq!(pair.text(&id).await.text, format!("[{value}, 1]"));
    }

    async fn a_task_that_takes_a_text_runs_with_half_a_surrogate_pair(pair: &Pair) {
        // A text of Rust has U+FFFD in its place.
        let half = match pair.worker {
            Side::Rust => r"\ufffd",
            Side::Python => r"\udce9",
        };
        let id = pair.call_text("tasks.add", r#"["\udce9", ".txt"]"#, json!({}), &[]).await;
        assert_eq!(pair.text(&id).await.text, format!(r#""{half}.txt""#));
        let id = pair.call_text("tasks.fail", r#"["\udce9"]"#, json!({}), &[]).await;
        let seen = pair.text(&id).await;
        assert_eq!((&*seen.state, seen.has_traceback), ("FAILURE", true));
        assert_eq!(seen.text, format!(r#"["{half}"]"#));
    }

    async fn a_call_that_never_expires_runs(pair: &Pair) {
        for never in ["9999-12-31T23:59:59.999999+00:00", "9999-12-31T23:59:59.999999"] {
            assert_eq!(pair.value("tasks.add", json!([2, 3]), json!({ "expires": never })).await, json!(5), "{never}");
        }
    }

    async fn a_call_that_is_never_due_waits_and_holds_nothing_up(pair: &Pair) {
        let options = json!({ "eta": "9999-12-31T23:59:59.999999+00:00" });
        let id = pair.call("tasks.noop", json!([]), json!({}), options).await;
        assert_eq!(pair.value("tasks.add", json!([2, 3]), json!({})).await, json!(5));
        assert_eq!(pair.state(&id).await.0, "PENDING");
        let dead = pair.rust.broker().dead().unwrap().list(0, 1000).await.unwrap();
        assert!(dead.iter().all(|letter| letter.task_id.as_deref() != Some(&*id)), "{dead:?}");
    }

    async fn values_nest_as_deep_as_python_takes_them(pair: &Pair) {
        for (serializer, depth) in [("json", 253), ("json", 254), ("json", 300), ("msgpack", 300)] {
            let value = nested(depth);
            let options = json!({ "serializer": serializer });
            let id = pair.call_text("tasks.identity", &format!("[{value}]"), options, &[]).await;
            let seen = pair.text(&id).await;
            assert_eq!((&*seen.state, seen.text == value), ("SUCCESS", true), "{serializer}, {depth} levels");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_map_that_looks_like_an_envelope_is_a_map_with_every_serializer() {
    // Celery refuses it in JSON and takes it in msgpack.
    let value = r#"{"__type__": "foo", "__value__": 1}"#;
    // A Python client is told of the result of what it sent, and fails when it reads that, whatever it waits for.
    let deployment = Deployment::start(Side::Rust, |setup| setup);
    for producer in Side::BOTH {
        let pair = deployment.pair(producer).await;
        for serializer in ["json", "msgpack", "yaml"] {
            for task in ["tasks.identity", "tasks.echo"] {
                let id = pair.call_text(task, &format!("[{value}]"), json!({ "serializer": serializer }), &[]).await;
                let seen = pair.text_in_rust(&id).await;
                assert_eq!(seen.state, "SUCCESS", "{serializer}");
                assert!(seen.text.contains(value), "{serializer}: {}", seen.text);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn foreign_messages_on_the_same_list_go_to_the_dead_set_and_disturb_nobody() {
    let deployment = Deployment::start(Side::Rust, |setup| setup);
    let pair = deployment.pair(Side::Python).await;
    let mut connection = deployment.database.connection();
    let foreign = [
        // Another queue of Rust that calls itself compatible.
        r#"{"metadata": {"id": "01J", "task": "tasks.add", "attempts": 0}, "payload": [123, 34]}"#,
        r#"{"task": "tasks.add", "args": [1, 2]}"#,
        r#"["tasks.add", [1, 2]]"#,
        "123",
        "\"text\"",
        "",
        "not JSON",
    ];
    for text in foreign {
        let () = connection.lpush("celery", text).unwrap();
    }
    // A body of two elements, without the links.
    let two = json!({
        "body": "[[1, 2], {}]", "content-type": "application/json", "content-encoding": "utf-8",
        "headers": { "task": "tasks.add", "id": "two" }, "properties": { "delivery_tag": "t" },
    });
    let () = connection.lpush("celery", two.to_string()).unwrap();
    assert_eq!(pair.value("tasks.add", json!([2, 3]), json!({})).await, json!(5));
    let dead = pair.rust.broker().dead().unwrap();
    // The messages were in front of the call whose result is there.
    let wait = async {
        while dead.count().await.unwrap() < foreign.len() as u64 + 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("each is in the dead set");
    let letters = dead.list(0, 100).await.unwrap();
    assert_eq!(letters.len(), foreign.len() + 1);
    for letter in &letters {
        assert_eq!(letter.code, "undecodable", "{letter:?}");
    }
    let two = letters.iter().find(|letter| letter.task_id.as_deref() == Some("two")).expect("it has its id");
    assert!(two.reason.contains("three elements"), "{}", two.reason);
}
