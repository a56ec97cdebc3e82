//! Receiving of events, and the state that follows from them.

use std::time::Duration;

use apium_app::app::app::App;
use apium_app::events::fleet_state::FleetState;
use apium_app::events::receiver::{EventReceiver, ReceivedEvent};
use apium_app::observe::event_sender::EventBatch;
use apium_protocol::json::text::Json;
use apium_protocol::message::event::Event;
use apium_protocol::message::message::Message;
use apium_protocol::message::outgoing_event::BATCH_ROUTING_KEY;
use apium_protocol::result::state::State;
use apium_transport::broker::broadcast::{BroadcastExchange, MailboxSpec};
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::topology::ExchangeType;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::control::fake_worker::FakeWorker;
use crate::kit;
use crate::result::trees::vector;

async fn send(app: &App, routing_key: &str, message: Message) {
    let exchange = BroadcastExchange::new("celeryev", ExchangeType::Topic).durable();
    let out = Outgoing::new("celeryev".into(), routing_key.into(), message);
    app.broker().broadcast().unwrap().send(&exchange, vec![out]).await.unwrap();
}

fn event_of(value: &Value) -> Event {
    Event::read_all(&Bytes::from(value.to_string())).unwrap().remove(0)
}

fn event(kind: &str, fields: Value) -> Event {
    let mut whole = json!({ "hostname": "w1@h", "timestamp": 1.5, "clock": 7, "type": kind });
    whole.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    event_of(&whole)
}

async fn kinds(receiver: &mut EventReceiver) -> Vec<String> {
    let mut kinds = Vec::new();
    while let Some(event) = receiver.next().now_or_never() {
        kinds.push(event.unwrap().event.kind.into_owned());
    }
    kinds
}

#[tokio::test]
async fn single_events_and_batches_come_one_by_one_and_broken_ones_are_left_out() {
    let app = kit::app().await.0;
    let worker = FakeWorker::answering(&app, "null").await;
    let mut receiver = app.events().listen().await.unwrap();
    worker.wait_for(1).await;
    assert_eq!(worker.requests()[0].method, "heartbeat", "workers are told to show themselves");
    let batch = [event("task-started", json!({ "uuid": "t" })), event("task-succeeded", json!({ "uuid": "t" }))];
    send(&app, "worker.heartbeat", event("worker-heartbeat", json!({})).to_message()).await;
    let mut broken = event("x-y", json!({})).to_message();
    broken.body = Bytes::from_static(b"[7]");
    send(&app, "x.y", broken).await;
    send(&app, BATCH_ROUTING_KEY, Event::batch_message(&batch, "w1@h")).await;
    send(&app, "own.kind", event("own-kind", json!({ "a": 1 })).to_message()).await;
    assert_eq!(kinds(&mut receiver).await, ["worker-heartbeat", "task-started", "task-succeeded", "own-kind"]);
    assert!(!receiver.missed());
}

#[tokio::test]
async fn a_routing_key_says_which_events_come() {
    let app = kit::app().await.0;
    let mut workers = app.events().routing_key("worker.#").wake(false).listen().await.unwrap();
    let mut failures = app.events().routing_key("task.failed").wake(false).listen().await.unwrap();
    for kind in ["worker-online", "task-failed", "worker-offline"] {
        let event = event(kind, json!({ "uuid": "t" }));
        send(&app, &event.to_text().routing_key(), event.to_message()).await;
    }
    assert_eq!(kinds(&mut workers).await, ["worker-online", "worker-offline"]);
    assert_eq!(kinds(&mut failures).await, ["task-failed"]);
    let error = app.events().routing_key("").listen().await.map(drop).unwrap_err();
    assert!(error.to_string().contains("routing key is empty"), "{error}");
}

#[tokio::test]
async fn a_receiver_that_does_not_read_is_bounded_and_says_that_it_missed_some() {
    let app = kit::app().await.0;
    let mut receiver = app.events().capacity(2).wake(false).listen().await.unwrap();
    for number in 0..5 {
        send(&app, "a.b", event(&format!("a-{number}"), json!({})).to_message()).await;
    }
    assert_eq!(kinds(&mut receiver).await, ["a-3", "a-4"]);
    assert_eq!((receiver.missed(), receiver.missed()), (true, false));
}

#[tokio::test]
async fn events_are_written_by_the_serializer_of_the_setting_and_read_with_it_or_as_json() {
    let app = kit::builder().setting("event_serializer", "msgpack").build().await.unwrap();
    let exchange = BroadcastExchange::new("celeryev", ExchangeType::Topic).durable();
    let mailbox = app.broker().broadcast().unwrap().listen(MailboxSpec::new(exchange, "raw", "#")).await;
    let mut receiver = app.events().wake(false).listen().await.unwrap();
    let large = Json::from_text("1267650600228229401496703205376").unwrap();
    let sent = [
        event("task-started", json!({ "uuid": "a" })),
        event("task-own", json!({ "uuid": "a" })).with("too_large_for_msgpack", large),
        event("task-succeeded", json!({ "uuid": "a", "result": "é" })),
        event("worker-heartbeat", json!({ "active": 1 })),
    ];
    let sender = app.publisher().events();
    let mut batch = EventBatch::new(sender);
    sent.iter().for_each(|event| batch.add(&event.to_text()));
    let messages = batch.into_messages();
    assert_eq!(messages.iter().map(|message| message.count).sum::<usize>(), 3);
    sender.send_batched(&messages).await.unwrap();
    sender.send_singly(&[sent[0].to_text()]).await.unwrap();
    send(&app, "own.kind", event("own-json", json!({})).to_message()).await;
    let read = ["task-started", "task-succeeded", "worker-heartbeat", "task-started", "own-json"];
    assert_eq!(kinds(&mut receiver).await, read, "what cannot be written takes no other event with it");
    let mut formats = Vec::new();
    let mut mailbox = mailbox.unwrap();
    while formats.len() < 5 {
        let came = mailbox.next().await.unwrap().messages.into_iter().map(|came| came.message.properties);
        formats.extend(came.map(|properties| {
            (properties.content_type.unwrap().into_owned(), properties.content_encoding.unwrap().into_owned())
        }));
    }
    let (msgpack, plain) = (("application/x-msgpack", "binary"), ("application/json", "utf-8"));
    let formats: Vec<_> = formats.iter().map(|(kind, encoding)| (kind.as_str(), encoding.as_str())).collect();
    assert_eq!(formats, [msgpack, msgpack, msgpack, msgpack, plain]);
}

#[tokio::test]
async fn events_are_a_stream_that_ends_with_the_broker() {
    let app = kit::app().await.0;
    let receiver = app.events().wake(false).listen().await.unwrap();
    let mut stream = std::pin::pin!(receiver.into_stream());
    send(&app, "a.b", event("a-b", json!({})).to_message()).await;
    let received = stream.next().await.unwrap().unwrap();
    assert_eq!((&*received.event.kind, received.at), ("a-b", app.clock().now()));
    app.close().await.unwrap();
    assert!(format!("{:#}", stream.next().await.unwrap().unwrap_err()).contains("receive events"));
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn clocks_follow_those_of_workers_and_not_those_of_callers() {
    let app = kit::app().await.0;
    let mut receiver = app.events().wake(false).listen().await.unwrap();
    let mut sent = event("task-sent", json!({ "uuid": "t" }));
    sent.clock = 1_000;
    let mut without = event("task-started", json!({ "uuid": "t" }));
    without.clock = 0;
    for event in [event("task-received", json!({ "uuid": "t" })), sent, without] {
        send(&app, "task.x", event.to_message()).await;
    }
    let mut clocks = Vec::new();
    for _ in 0..3 {
        clocks.push(receiver.next().await.unwrap().event.clock);
    }
    assert_eq!(clocks, [7, 7, 9]);
}

/// Feeds events that were received when they happened.
fn state_of(events: &[Event]) -> FleetState {
    let mut state = FleetState::new();
    for event in events {
        let at = Timestamp::from_microsecond((event.timestamp * 1e6) as i64).unwrap();
        state.event(&ReceivedEvent::new(event.clone(), at));
    }
    state
}

/// The examples of a capture.
fn examples(name: &str) -> Vec<Event> {
    vector(name)["redis"]["examples"].as_array().unwrap().iter().map(event_of).collect()
}

#[test]
fn the_captured_events_of_a_python_worker_make_its_state() {
    let kinds = ["sent", "received", "started", "succeeded", "failed", "retried", "revoked", "rejected"];
    let mut events: Vec<Event> = kinds.iter().flat_map(|kind| examples(&format!("event_task_{kind}"))).collect();
    events.extend(["online", "heartbeat"].iter().flat_map(|kind| examples(&format!("event_worker_{kind}"))));
    events.sort_by(|one, other| one.timestamp.total_cmp(&other.timestamp));
    let state = state_of(&events);
    let added = state.task("cafe0000-0000-4000-9000-000000000101").unwrap();
    assert_eq!((added.name.as_deref(), &added.state), (Some("tasks.add"), &State::Success));
    assert_eq!((added.args.as_deref(), added.result.as_deref()), (Some("(1, 2)"), Some("3")));
    assert!(added.runtime.unwrap() > 0.0 && added.sent < added.received && added.received <= added.started);
    assert_eq!((added.worker.as_deref(), added.client.as_deref()), (Some("w1@wirespec"), Some("gen32634@vm")));
    let failed = state.task("cafe0000-0000-4000-9000-000000000102").unwrap();
    assert_eq!(failed.state, State::Failure);
    assert!(failed.exception.as_deref().unwrap().contains("evfail") && failed.traceback.is_some());
    assert!(state.task_types().any(|name| name == "tasks.fail"));
    let worker = state.worker("w1@wirespec").unwrap();
    assert_eq!(
        (worker.sw_ident.as_deref(), worker.pid, worker.processed),
        (Some("py-celery"), Some(32_636), Some(199))
    );
    assert_eq!(worker.loadavg, Some([2.39, 1.97, 1.26]));
    assert_eq!(state.event_count() as usize, events.len());
}

/// The tasks and workers that Flower shows after these events (capture `acceptance_flower_events`).
#[test]
fn flowers_view_of_hand_made_events_is_ours() {
    let shown = vector("acceptance_flower_events");
    let on = |host: &str, kind: &str, fields: Value| {
        let mut event = event(kind, fields);
        event.hostname = host.into();
        event
    };
    let uuid = |number: u8| format!("11111111-0000-4000-8000-00000000000{number}");
    let state = state_of(&[
        on("full@rust", "worker-online", json!({ "freq": 2.0, "sw_ident": "rust-celery", "pid": 4242 })),
        on("full@rust", "worker-heartbeat", json!({ "freq": 2.0, "active": 1, "processed": 5, "pid": 4242 })),
        on("min@rust", "worker-heartbeat", json!({})),
        on(
            "full@rust",
            "task-received",
            json!({ "uuid": uuid(1), "name": "tasks.add", "args": "(1, 2)", "kwargs": "{}" }),
        ),
        on("full@rust", "task-started", json!({ "uuid": uuid(1) })),
        on("full@rust", "task-succeeded", json!({ "uuid": uuid(1), "result": "3", "runtime": 0.01 })),
        on(
            "full@rust",
            "task-received",
            json!({ "uuid": uuid(2), "name": "tasks.fail", "args": "()", "kwargs": "{}" }),
        ),
        on(
            "full@rust",
            "task-failed",
            json!({ "uuid": uuid(2), "exception": "ValueError('x')", "traceback": "Traceback..." }),
        ),
        on("only@started", "task-started", json!({ "uuid": uuid(3) })),
    ]);
    for (id, expected) in shown["tasks"].as_object().unwrap() {
        let task = state.task(id).unwrap();
        let ours = json!({
            "name": task.name.as_deref(), "state": task.state.to_string(), "args": task.args, "kwargs": task.kwargs,
            "result": task.result, "exception": task.exception, "runtime": task.runtime, "traceback": task.traceback,
            "worker": task.worker.as_deref(),
        });
        for (field, value) in ours.as_object().unwrap() {
            assert_eq!(*value, expected[field], "{id}: {field}");
        }
        for (time, field) in [(task.received, "received"), (task.started, "started"), (task.failed, "failed")] {
            assert_eq!(time.is_some(), expected[field].is_f64(), "{id}: {field}");
        }
    }
    for expected in shown["workers"]["data"].as_array().unwrap() {
        let host = expected["hostname"].as_str().unwrap();
        let Some(worker) = state.worker(host) else {
            assert!(host.contains("clock"), "{host}");
            continue;
        };
        let ours = json!({ "active": worker.active, "processed": worker.processed, "sw_ident": worker.sw_ident });
        for (field, value) in ours.as_object().unwrap() {
            assert_eq!(*value, expected[field], "{host}: {field}");
        }
        assert_eq!(Some(worker.freq), expected["freq"].as_f64(), "{host}");
    }
}

#[test]
fn events_out_of_order_are_merged_by_precedence() {
    let at = |kind: &str, time: f64, fields: Value| {
        let mut event = event(kind, fields);
        event.timestamp = time;
        event
    };
    let received = || at("task-received", 2.0, json!({ "uuid": "t", "name": "a", "args": "(1,)", "retries": 0 }));
    let table = [
        (vec![at("task-succeeded", 3.0, json!({ "uuid": "t", "result": "1" })), received()], State::Success, 3.0),
        (
            vec![
                received(),
                at("task-failed", 3.0, json!({ "uuid": "t" })),
                at("task-started", 2.5, json!({ "uuid": "t" })),
            ],
            State::Failure,
            2.5,
        ),
        (vec![at("task-retried", 3.0, json!({ "uuid": "t" })), received()], State::Retry, 2.0),
        (
            vec![
                received(),
                at("task-retried", 3.0, json!({ "uuid": "t" })),
                at("task-started", 4.0, json!({ "uuid": "t" })),
            ],
            State::Started,
            4.0,
        ),
        (
            vec![
                received(),
                at("task-revoked", 3.0, json!({ "uuid": "t" })),
                at("task-sent", 1.0, json!({ "uuid": "t" })),
            ],
            State::Revoked,
            1.0,
        ),
        (vec![received(), at("task-custom", 3.0, json!({ "uuid": "t" }))], State::from("CUSTOM"), 3.0),
    ];
    for (events, state, timestamp) in table {
        let kinds: Vec<String> = events.iter().map(|event| event.kind.to_string()).collect();
        let fleet = state_of(&events);
        let task = fleet.task("t").unwrap();
        let expected = if state == State::Retry { State::Received } else { state };
        assert_eq!((&task.state, task.timestamp), (&expected, Some(timestamp)), "{kinds:?}");
        assert_eq!((task.name.as_deref(), task.args.as_deref()), (Some("a"), Some("(1,)")), "{kinds:?}");
    }
}

#[test]
fn a_worker_is_alive_for_two_of_its_intervals_and_not_after_it_said_that_it_ends() {
    let start: Timestamp = "2026-12-01T08:00:00Z".parse().unwrap();
    let after = |seconds: f64| start + Duration::from_secs_f64(seconds);
    let mut state = FleetState::new();
    let mut tell = |kind: &str, fields: Value, at| state.event(&ReceivedEvent::new(event(kind, fields), at));
    tell("worker-heartbeat", json!({ "freq": 2.0 }), start);
    tell("task-started", json!({ "uuid": "t" }), after(3.0));
    let worker = state.worker("w1@h").unwrap();
    assert_eq!([6.9, 7.1].map(|seconds| worker.is_alive(after(seconds))), [true, false]);
    let mut tell = |kind: &str, fields: Value, at| state.event(&ReceivedEvent::new(event(kind, fields), at));
    tell("worker-offline", json!({}), after(4.0));
    assert_eq!((state.alive_workers(after(4.0)).count(), state.workers().count()), (0, 1));
    // Without an interval it is 60 s.
    state.event(&ReceivedEvent::new(event("worker-online", json!({ "hostname": "other@h" })), start));
    assert_eq!([119.0, 121.0].map(|seconds| state.worker("other@h").unwrap().is_alive(after(seconds))), [true, false]);
}

#[test]
fn the_state_is_bounded_and_nothing_strange_disturbs_it() {
    let mut state = FleetState::bounded(3, 10);
    for number in 0..100 {
        let fields =
            json!({ "uuid": format!("t{number}"), "hostname": format!("w{number}@h"), "name": "x".repeat(10) });
        state.event(&ReceivedEvent::new(event("task-received", fields), Timestamp::UNIX_EPOCH));
    }
    assert_eq!((state.len(), state.workers().count(), state.task_count()), (10, 3, 100));
    let strange = [
        event("task-received", json!({})),
        event("task-received", json!({ "uuid": 7, "name": [1], "retries": "many" })),
        event("worker-heartbeat", json!({ "freq": "often", "loadavg": 7, "active": -1, "processed": {} })),
        event("worker-heartbeat", json!({ "freq": -1e300 })),
        event("nonsense", json!({})),
        event("task-", json!({ "uuid": "u", "runtime": "x", "traceback": "é".repeat(100_000) })),
    ];
    for event in strange {
        state.event(&ReceivedEvent::new(event, Timestamp::MAX));
    }
    let task = state.task("u").unwrap();
    assert!(task.traceback.as_ref().unwrap().len() < 70_000);
    assert!(state.workers().all(|worker| worker.freq > 0.0));
    assert_eq!(state.tasks_by_time().len(), state.len());
    state.clear_tasks(true);
    assert_eq!(state.len(), 10, "none of them is ready");
    state.clear_tasks(false);
    assert!(state.is_empty());
}
