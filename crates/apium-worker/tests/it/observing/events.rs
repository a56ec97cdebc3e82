//! Events of tasks: their fields and order, batches, switches, and a broker that is away.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::observing::monitor::{Monitor, field};
use crate::observing::tasks::{app, builder, worker};
use crate::rig::{Gate, send, state, until, until_state};
use crate::switched_driver::{SwitchedDriver, Switches, URL};

/// The keys of the events of real Celery, by type.
fn celery_keys() -> HashMap<String, Vec<Vec<String>>> {
    let folder = format!("{}/../../tests/vectors", env!("CARGO_MANIFEST_DIR"));
    let mut keys: HashMap<String, Vec<Vec<String>>> = HashMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("event_") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        // The events themselves are texts in the vector, with their keys in order.
        let vector: Value = serde_json::from_str(&text).unwrap();
        // Of an unknown task Celery tells no traceback; its message is not among those that are kept whole.
        let examples = vector["redis"]["examples"].as_array().into_iter().flatten();
        for example in examples.filter(|example| example["type"] == "task-failed" && example.get("traceback").is_none())
        {
            assert!(example["uuid"].is_string() && example["exception"].is_string());
            keys.entry("task-failed".into()).or_default().push(vec!["uuid".into(), "exception".into()]);
        }
        let raw = vector["redis"]["raw_messages"].as_array().or_else(|| vector["redis"].as_array());
        for message in raw.into_iter().flatten() {
            let Some(body) = message["body"]["utf8"].as_str() else { continue };
            let bytes = apium_protocol::json::text::Json::from_text(body).unwrap().into_bytes();
            for event in apium_protocol::message::event::Event::read_all(&bytes).unwrap() {
                let own = event.fields.iter().map(|(key, _)| key.to_string()).collect();
                keys.entry(event.kind.into_owned()).or_default().push(own);
            }
        }
    }
    keys
}

#[tokio::test]
async fn each_end_of_a_task_is_told_with_the_fields_of_celery() {
    let app = app().await;
    let mut monitor = Monitor::open(&app).await;
    let worker = worker(&app).task_events(true).start().await.unwrap();
    for task in ["quick", "fails", "retries", "rejects", "ignores", "large", "gone"] {
        send(&app, task, &format!("{task}-1")).await;
    }
    let last = [("gone-1", "task-failed"), ("large-1", "task-succeeded"), ("retries-1", "task-succeeded")];
    monitor.until("all ends", |monitor| last.iter().all(|(id, kind)| monitor.has(id, kind))).await;
    let begun = ["task-received", "task-started"];
    for (id, ends) in [
        ("quick-1", &["task-succeeded"][..]),
        ("fails-1", &["task-failed"]),
        ("rejects-1", &["task-failed", "task-rejected"]),
        ("ignores-1", &[]),
        ("retries-1", &["task-retried", "task-received", "task-started", "task-succeeded"]),
    ] {
        assert_eq!(monitor.kinds_of(id), [&begun, ends].concat(), "{id}");
    }
    assert_eq!(monitor.kinds_of("gone-1"), ["task-failed"]);

    let keys = celery_keys();
    for (routing_key, event) in &monitor.seen {
        assert_eq!(routing_key, "task.multi");
        assert_eq!((&*event.hostname, event.pid), ("w1@host", std::process::id()));
        let own: Vec<String> = event.fields.iter().map(|(key, _)| key.to_string()).collect();
        let celery = keys.get(&*event.kind).unwrap_or_else(|| panic!("Celery has no {}", event.kind));
        assert!(celery.contains(&own), "{}: {own:?} is none of {celery:?}", event.kind);
    }
    let clocks: Vec<u64> = monitor.seen.iter().map(|(_, event)| event.clock).collect();
    assert!(clocks.is_sorted_by(|a, b| a < b), "each event is later than the one before: {clocks:?}");

    let quick = monitor.of("quick-1");
    assert_eq!(field(quick[0], "name"), "quick");
    assert_eq!((field(quick[0], "args"), field(quick[0], "kwargs")), (json!("()"), json!("{}")));
    assert_eq!((field(quick[0], "root_id"), field(quick[0], "parent_id")), (json!("quick-1"), Value::Null));
    assert_eq!((field(quick[0], "retries"), field(quick[0], "eta")), (json!(0), Value::Null));
    assert_eq!(field(quick[2], "result"), "3");
    assert!(field(quick[2], "runtime").is_f64());
    let failed = monitor.of("fails-1")[2];
    assert_eq!(field(failed, "exception"), "TaskError('boom')");
    assert!(field(failed, "traceback").as_str().unwrap().contains("boom"));
    let rejected = monitor.of("rejects-1");
    assert_eq!(field(rejected[2], "exception"), "reject requeue=False: unwanted");
    assert_eq!(field(rejected[3], "requeue"), false);
    let retried = monitor.of("retries-1");
    assert!(field(retried[2], "exception").as_str().unwrap().contains("not yet"));
    assert_eq!(field(retried[3], "retries"), 1);
    assert_eq!(field(monitor.of("gone-1")[0], "exception"), "NotRegistered('gone')");
    assert!(field(monitor.of("large-1")[2], "result").as_str().unwrap().len() < 1_100);

    worker.stop().await;
}

#[tokio::test]
async fn an_expired_task_is_revoked_and_a_cancelled_one_is_told_too() {
    let app = app().await;
    app.sig("quick").call().task_id("old").expires_in(Duration::from_secs(5)).send(&app).await.unwrap();
    app.clock().advance(Duration::from_secs(60));
    let mut monitor = Monitor::open(&app).await;
    let worker = worker(&app).task_events(true).start().await.unwrap();
    let revoked = monitor.until_kind("task-revoked").await;
    assert_eq!((field(&revoked, "uuid"), field(&revoked, "expired")), (json!("old"), json!(true)));
    assert_eq!((field(&revoked, "terminated"), field(&revoked, "signum")), (json!(false), Value::Null));
    assert_eq!(monitor.kinds_of("old"), ["task-revoked"], "it was not received");

    send(&app, "waits", "waits-1").await;
    app.states().get::<Gate>().unwrap().begun(1).await;
    worker.stop_cold().await;
    monitor.until("the cancelled run", |monitor| monitor.has("waits-1", "task-cancelled")).await;
    assert_eq!(monitor.kinds_of("waits-1"), ["task-received", "task-started", "task-cancelled"]);
}

#[tokio::test]
async fn nothing_is_told_of_tasks_unless_it_is_asked_for() {
    let app = app().await;
    let mut monitor = Monitor::open(&app).await;
    let quiet = worker(&app).start().await.unwrap();
    send(&app, "quick", "quiet").await;
    send(&app, "tells", "tells-1").await;
    // An event of the task's own is sent all the same, alone and under its own key.
    let charged = monitor.until_kind("billing-charged").await;
    assert_eq!(monitor.kinds(), ["billing-charged"]);
    assert_eq!(monitor.seen[0].0, "billing.charged");
    let own: Vec<_> = charged.fields.iter().map(|(key, _)| key.to_string()).collect();
    assert_eq!(own, ["uuid", "cents", "to"]);
    assert_eq!((field(&charged, "uuid"), field(&charged, "cents")), (json!("tells-1"), json!(5)));
    assert_eq!(&*charged.hostname, "w1@host");
    until_state(&app, "tells-1", "SUCCESS").await;
    let result: Value = crate::rig::stored(&app, "tells-1").await.unwrap().result.decode().unwrap();
    assert!(result[0].as_str().unwrap().contains("a type is a group, a hyphen and a name"), "{result}");
    assert!(result[1].as_str().unwrap().contains("`pid`"), "{result}");
    quiet.stop().await;

    // By the setting, and not for a task that does not want it.
    let app = builder().setting("worker_send_task_events", true).build().await.unwrap();
    let mut monitor = Monitor::open(&app).await;
    let worker = worker(&app).start().await.unwrap();
    send(&app, "silent", "silent-1").await;
    send(&app, "quick", "loud").await;
    monitor.until("the loud one", |monitor| monitor.has("loud", "task-succeeded")).await;
    assert!(monitor.of("silent-1").is_empty());
    worker.stop().await;
}

#[tokio::test]
async fn events_are_switched_while_the_worker_runs() {
    let app = app().await;
    let mut monitor = Monitor::open(&app).await;
    let worker = worker(&app).task_events(true).start().await.unwrap();
    assert!(!worker.enable_task_events(), "they are on");
    assert!(worker.disable_task_events());
    assert!(!worker.disable_task_events(), "they are off");
    send(&app, "quick", "unseen").await;
    until_state(&app, "unseen", "SUCCESS").await;
    assert!(worker.enable_task_events());
    send(&app, "quick", "seen").await;
    monitor.until("the seen one", |monitor| monitor.has("seen", "task-succeeded")).await;
    assert!(monitor.of("unseen").is_empty());
    worker.stop().await;
}

#[tokio::test]
async fn events_of_tasks_go_in_lists_of_24_at_most_and_in_order() {
    let app = app().await;
    let mut monitor = Monitor::open(&app).await;
    for n in 0..100 {
        send(&app, "quick", &format!("quick-{n}")).await;
    }
    let worker = worker(&app).task_events(true).start().await.unwrap();
    monitor.until("all", |monitor| monitor.count("task-succeeded") == 100).await;
    assert_eq!(monitor.seen.len(), 300);
    assert!(monitor.batches.iter().all(|count| *count <= 24), "{:?}", monitor.batches);
    assert!(monitor.batches.contains(&24), "{:?}", monitor.batches);
    let clocks: Vec<u64> = monitor.seen.iter().map(|(_, event)| event.clock).collect();
    assert!(clocks.is_sorted_by(|a, b| a < b), "{clocks:?}");
    worker.stop().await;
}

#[tokio::test]
async fn a_broker_that_is_away_delays_no_task_and_gets_the_events_later() {
    let switches = Switches::default();
    let builder = builder().driver(SwitchedDriver::new(&switches)).broker(URL).backend(URL);
    let app = builder.build().await.unwrap();
    let mut monitor = Monitor::open(&app).await;
    let worker = worker(&app).task_events(true).start().await.unwrap();
    switches.cut_events(true);
    for n in 0..50 {
        send(&app, "quick", &format!("quick-{n}")).await;
    }
    until("all are done", async || state(&app, "quick-49").await == "SUCCESS").await;
    until("sending was tried", async || switches.refused_events() > 0).await;
    switches.cut_events(false);
    monitor.until("all events", |monitor| monitor.count("task-succeeded") == 50).await;
    assert_eq!(monitor.seen.len(), 150, "none is lost, and none is sent twice");

    // One that never answers does not keep the worker from stopping.
    switches.hang_events(true);
    send(&app, "quick", "hung").await;
    until_state(&app, "hung", "SUCCESS").await;
    assert_eq!(worker.stop().await.finished, 51);
}

#[tokio::test]
async fn when_too_many_events_wait_the_oldest_go() {
    let app = app().await;
    let mut monitor = Monitor::open(&app).await;
    let worker = worker(&app).start().await.unwrap();
    // The task never yields, so nothing is sent before it ends.
    send(&app, "floods", "floods-1").await;
    let number = |event: &apium_protocol::message::event::Event| field(event, "n").as_u64().unwrap();
    let is_last = |monitor: &Monitor| monitor.seen.last().is_some_and(|(_, event)| number(event) == 10_499);
    monitor.until("the newest", is_last).await;
    let numbers: Vec<u64> = monitor.seen.iter().map(|(_, event)| number(event)).collect();
    assert_eq!(numbers, (500..10_500).collect::<Vec<_>>());
    worker.stop().await;
}

#[tokio::test]
async fn callers_tell_what_they_send_where_the_setting_says_so() {
    let app = builder().setting("task_send_sent_event", true).build().await.unwrap();
    let mut monitor = Monitor::open(&app).await;
    send(&app, "quick", "quick-1").await;
    let sent = monitor.until_kind("task-sent").await;
    assert_eq!(monitor.seen[0].0, "task.sent");
    let own: Vec<String> = sent.fields.iter().map(|(key, _)| key.to_string()).collect();
    assert_eq!([own], celery_keys()["task-sent"][..1]);
    assert!(sent.hostname.starts_with(&format!("gen{}@", std::process::id())), "{}", sent.hostname);
    assert_eq!((field(&sent, "queue"), field(&sent, "routing_key")), (json!("celery"), json!("celery")));
    assert_eq!((field(&sent, "exchange"), field(&sent, "name")), (json!(""), json!("quick")));

    // What a worker sends because a run ended, too.
    let worker = worker(&app).start().await.unwrap();
    send(&app, "retries", "retries-1").await;
    monitor.until("the retry", |monitor| monitor.kinds_of("retries-1").len() == 2).await;
    assert_eq!(field(monitor.of("retries-1")[1], "retries"), 1);
    worker.stop().await;
}
