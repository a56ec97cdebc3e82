//! Revoked tasks do not run: whoever revoked them and whenever, whatever they are a part of.

use std::time::Duration;

use apium_app::app::app::App;
use apium_app::canvas::node::Node;
use apium_app::canvas::send::send as send_canvas;
use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_transport::broker::fleet::{FleetLimits, FleetRecord, FleetTopic};
use apium_worker::builder::AppWorker as _;
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::AppTest as _;
use serde_json::json as j;

use crate::control::caller::{call, cast, request, send_messages};
use crate::rig::{Gate, Notes, counts, dead, exception, json, send, state, until, until_state};
use crate::task;

task!(Note = "note", [], async |ctx| {
    let id = ctx.request().id().unwrap().to_string();
    ctx.state::<Notes>().unwrap().add(id);
    Ok(json(1))
});
task!(Late = "late", [acks_late: Some(true)], async |ctx| {
    let id = ctx.request().id().unwrap().to_string();
    ctx.state::<Notes>().unwrap().add(id);
    Ok(json(1))
});
task!(Wait = "wait", [], async |ctx| {
    ctx.state::<Gate>().unwrap().pass().await;
    Ok(json(1))
});
task!(Again = "again", [], async |ctx| {
    let id = format!("{} {}", ctx.request().id().unwrap(), ctx.request().retries());
    ctx.state::<Notes>().unwrap().add(id);
    ctx.state::<Gate>().unwrap().pass().await;
    Err(ctx.retry().countdown(Duration::ZERO).into())
});

async fn app(notes: &Notes, gate: &Gate) -> TestApp {
    let builder = App::test().with(|app| app.autodiscover(false)).state(notes.clone()).state(gate.clone());
    let builder = builder.register::<Note>().register::<Late>().register::<Wait>().register::<Again>();
    builder.build().await.unwrap()
}

/// Revokes as a client does while no worker is up.
async fn write(app: &TestApp, topic: FleetTopic, keys: &[&str]) {
    let records = keys.iter().map(|key| FleetRecord::new(*key, Json::NULL, app.now())).collect();
    let limits = FleetLimits::new(50_000, Some(Duration::from_secs(10_800)));
    app.broker().fleet().unwrap().put(topic, records, limits).await.unwrap();
}

async fn written(app: &TestApp, topic: FleetTopic) -> Vec<String> {
    let limits = FleetLimits::new(50_000, None);
    let records = app.broker().fleet().unwrap().list(topic, None, limits).await.unwrap();
    records.into_iter().map(|record| record.key).collect()
}

async fn is_revoked(app: &App, id: &str) {
    assert_eq!(state(app, id).await, "REVOKED", "{id}");
    assert_eq!(exception(app, id).await, ("TaskRevokedError".into(), j!(["revoked"])), "{id}");
}

async fn nothing_is_left(app: &App) {
    let left = counts(app, "celery").await;
    assert_eq!((left.ready, left.unacked, left.delayed, dead(app).await.len()), (0, 0, 0, 0));
}

fn node(name: &str, id: &str) -> Node {
    let mut signature = WireSignature::new(name);
    signature.options.insert("task_id".into(), json(id));
    Node::from_wire(&signature).unwrap()
}

#[tokio::test]
async fn a_revoke_that_was_sent_with_no_worker_up_is_honoured_by_one_that_starts_later() {
    for task in ["note", "late"] {
        let notes = Notes::default();
        let app = app(&notes, &Gate::new()).await;
        write(&app, FleetTopic::RevokedTasks, &["a", "c"]).await;
        write(&app, FleetTopic::RevokedStamps, &["batch=\"b1\""]).await;
        for id in ["a", "b"] {
            send(&app, task, id).await;
        }
        app.sig(task).call().task_id("stamped").stamp("batch", "b1").send(&app).await.unwrap();
        app.sig(task).call().task_id("c").countdown(Duration::from_secs(60)).send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(notes.all(), ["b"], "{task}");
        is_revoked(&app, "a").await;
        is_revoked(&app, "stamped").await;
        assert_eq!(state(&app, "c").await, "PENDING", "its time has not come");
        app.advance(Duration::from_secs(61)).await;
        assert_eq!(notes.all(), ["b"], "{task}");
        is_revoked(&app, "c").await;
        nothing_is_left(&app).await;
    }
}

#[tokio::test]
async fn a_revoke_expires() {
    let notes = Notes::default();
    let app = app(&notes, &Gate::new()).await;
    write(&app, FleetTopic::RevokedTasks, &["a"]).await;
    app.advance(Duration::from_secs(10_801)).await;
    send(&app, "note", "a").await;
    app.drain().await;
    assert_eq!(notes.all(), ["a"]);
}

#[tokio::test]
async fn a_revoke_is_honoured_while_the_clock_jumps_and_until_its_time_is_over() {
    let notes = Notes::default();
    let app = app(&notes, &Gate::new()).await;
    let worker = app.worker().start().await.unwrap();
    call(&app, "revoke", j!({"task_id": ["a"]})).await;
    let (began, hour) = (app.now(), Duration::from_secs(3_600));
    // It is kept for three hours.
    for (now, runs) in [(began - 24 * hour, 0), (began + 2 * hour, 0), (began - hour, 0), (began + 4 * hour, 1)] {
        app.clock().set(now);
        send(&app, "note", "a").await;
        until("it is acked", async || {
            let left = counts(&app, "celery").await;
            (left.ready, left.unacked) == (0, 0)
        })
        .await;
        assert_eq!(notes.all().len(), runs, "at {now}");
        assert_eq!(call(&app, "ping", j!({})).await, j!({"ok": "pong"}), "at {now}");
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_writes_what_it_hears_for_those_that_start_later() {
    let notes = Notes::default();
    let app = app(&notes, &Gate::new()).await;
    let worker = app.worker().start().await.unwrap();
    let answer = call(&app, "revoke", j!({"task_id": ["a", "b", "a"], "terminate": false, "signal": "SIGTERM"})).await;
    assert_eq!(answer, j!({"ok": "tasks {'a', 'b'} flagged as revoked"}));
    call(&app, "revoke_by_stamped_headers", j!({"headers": {"n": [7]}})).await;
    // Neither of these is for everybody who starts later: one is written by its caller, the other one is for some.
    let mut recorded = request("revoke", &j!({"task_id": "recorded"}));
    recorded.recorded = true;
    let mut for_some = request("revoke", &j!({"task_id": "for some"}));
    for_some.destination = Some(vec![worker.node().to_owned()]);
    send_messages(&app, vec![recorded.to_message(1, 0.0), for_some.to_message(1, 0.0)]).await;
    assert_eq!(call(&app, "revoked", j!({})).await, j!(["a", "b", "recorded", "for some"]));
    worker.stop().await;
    assert_eq!(written(&app, FleetTopic::RevokedTasks).await, ["a", "b"]);
    assert_eq!(written(&app, FleetTopic::RevokedStamps).await, ["n=7"]);
    send(&app, "note", "a").await;
    app.sig("note").call().task_id("stamped").stamp("n", 7).send(&app).await.unwrap();
    send(&app, "note", "c").await;
    app.drain().await;
    assert_eq!(notes.all(), ["c"]);
}

#[tokio::test]
async fn a_revoke_is_taken_back_here_and_for_workers_that_start_later() {
    let notes = Notes::default();
    let app = app(&notes, &Gate::new()).await;
    write(&app, FleetTopic::RevokedTasks, &["a", "b", "c"]).await;
    write(&app, FleetTopic::RevokedStamps, &["n=7", "n=8"]).await;
    let worker = app.worker().start().await.unwrap();
    assert_eq!(call(&app, "revoked_stamps", j!({})).await, j!({"n": [7, 8]}));
    let answer = call(&app, "unrevoke", j!({"task_id": ["a", "nobody's"]})).await;
    assert_eq!(answer, j!({"ok": "tasks {'a', \"nobody's\"} revoked no more"}));
    let answer = call(&app, "unrevoke_by_stamped_headers", j!({"headers": {"n": [7]}})).await;
    assert_eq!(answer, j!({"ok": "headers {'n': [7]} revoked no more"}));
    // One that is heard, taken back and heard again is revoked.
    for (command, ids) in [("revoke", j!(["d", "e"])), ("unrevoke", j!(["d", "e"])), ("revoke", j!(["e"]))] {
        call(&app, command, j!({ "task_id": ids })).await;
    }
    let mut for_some = request("unrevoke", &j!({"task_id": "c"}));
    for_some.destination = Some(vec![worker.node().to_owned()]);
    send_messages(&app, vec![for_some.to_message(1, 0.0)]).await;
    assert_eq!(call(&app, "revoked", j!({})).await, j!(["b", "e"]));
    assert_eq!(call(&app, "revoked_stamps", j!({})).await, j!({"n": [8]}));
    for id in ["a", "b"] {
        send(&app, "note", id).await;
    }
    until_state(&app, "a", "SUCCESS").await;
    until_state(&app, "b", "REVOKED").await;
    worker.stop().await;
    assert_eq!(written(&app, FleetTopic::RevokedTasks).await, ["b", "c", "e"], "c is taken back for one worker only");
    assert_eq!(written(&app, FleetTopic::RevokedStamps).await, ["n=8"]);
    app.sig("note").call().task_id("seven").stamp("n", 7).send(&app).await.unwrap();
    app.sig("note").call().task_id("eight").stamp("n", 8).send(&app).await.unwrap();
    app.drain().await;
    assert_eq!(notes.all(), ["a", "seven"]);
    is_revoked(&app, "eight").await;
}

#[tokio::test]
async fn a_revoked_task_that_waits_runs_if_that_is_taken_back_before_its_message_comes() {
    let (notes, gate) = (Notes::default(), Gate::new());
    let app = app(&notes, &gate).await;
    let worker = app.worker().concurrency(1).start().await.unwrap();
    cast(&app, "revoke", j!({"task_id": ["a"]})).await;
    until_state(&app, "a", "REVOKED").await;
    call(&app, "unrevoke", j!({"task_id": "a"})).await;
    send(&app, "note", "a").await;
    until_state(&app, "a", "SUCCESS").await;
    worker.stop().await;
    assert_eq!(notes.all(), ["a"]);
}

#[tokio::test]
async fn a_task_that_waits_becomes_revoked_at_once_and_does_not_run_later() {
    let (notes, gate) = (Notes::default(), Gate::new());
    let app = app(&notes, &gate).await;
    let worker = app.worker().concurrency(1).prefetch_multiplier(4).start().await.unwrap();
    send(&app, "wait", "runs").await;
    gate.begun(1).await;
    send(&app, "note", "reserved").await;
    send(&app, "late", "reserved late").await;
    until("they are reserved", async || call(&app, "reserved", j!({})).await.as_array().unwrap().len() == 2).await;
    cast(&app, "revoke", j!({"task_id": ["reserved", "reserved late", "nobody's", "runs"]})).await;
    for id in ["reserved", "reserved late", "nobody's"] {
        until_state(&app, id, "REVOKED").await;
        is_revoked(&app, id).await;
    }
    assert_eq!(state(&app, "runs").await, "PENDING", "what runs goes on");
    gate.open(1);
    until_state(&app, "runs", "SUCCESS").await;
    worker.stop().await;
    app.drain().await;
    assert_eq!(notes.all(), Vec::<String>::new());
    nothing_is_left(&app).await;
    // A result stays.
    let worker = app.worker().start().await.unwrap();
    cast(&app, "revoke", j!({"task_id": ["runs", "last"]})).await;
    until_state(&app, "last", "REVOKED").await;
    assert_eq!(state(&app, "runs").await, "SUCCESS");
    worker.stop().await;
}

#[tokio::test]
async fn a_revoked_run_that_goes_on_is_not_retried() {
    let (notes, gate) = (Notes::default(), Gate::new());
    let app = app(&notes, &gate).await;
    let worker = app.worker().concurrency(1).start().await.unwrap();
    send(&app, "again", "a").await;
    gate.begun(1).await;
    call(&app, "revoke", j!({"task_id": "a"})).await;
    gate.open(1);
    until_state(&app, "a", "REVOKED").await;
    until("its retry is acked", async || counts(&app, "celery").await.unacked == 0).await;
    worker.stop().await;
    assert_eq!(notes.all(), ["a 0"]);
    nothing_is_left(&app).await;
}

#[tokio::test]
async fn a_revoked_step_ends_its_chain_and_a_revoked_member_leaves_its_group_alone() {
    let notes = Notes::default();
    let app = app(&notes, &Gate::new()).await;
    write(&app, FleetTopic::RevokedTasks, &["2", "y"]).await;
    send_canvas(&app, Node::chain([node("note", "1"), node("note", "2"), node("note", "3")])).await.unwrap();
    send_canvas(&app, Node::group([node("note", "x"), node("note", "y"), node("note", "z")])).await.unwrap();
    app.drain().await;
    let mut ran = notes.all();
    ran.sort();
    assert_eq!(ran, ["1", "x", "z"]);
    is_revoked(&app, "2").await;
    is_revoked(&app, "y").await;
    assert_eq!(state(&app, "3").await, "PENDING", "as in Celery nothing is stored for it");
    nothing_is_left(&app).await;
}

#[tokio::test]
async fn a_revoked_part_fails_its_chord() {
    for task in ["note", "late"] {
        let notes = Notes::default();
        let app = app(&notes, &Gate::new()).await;
        write(&app, FleetTopic::RevokedTasks, &["a"]).await;
        let chord = Node::chord([node(task, "a"), node(task, "b")], node("note", "body"));
        send_canvas(&app, chord).await.unwrap();
        app.drain().await;
        assert_eq!(notes.all(), ["b"], "the other part runs, and the body does not");
        is_revoked(&app, "a").await;
        assert_eq!((state(&app, "b").await, state(&app, "body").await), ("SUCCESS".into(), "FAILURE".into()));
        assert_eq!(exception(&app, "body").await.0, "ChordError");
        nothing_is_left(&app).await;
    }
}

#[tokio::test]
async fn workers_tell_each_other_what_is_revoked() {
    let app = app(&Notes::default(), &Gate::new()).await;
    let first = app.worker().hostname("w1@h").start().await.unwrap();
    // As a worker of Celery knows it: in its memory alone.
    let mut for_some = request("revoke", &j!({"task_id": "a"}));
    for_some.destination = Some(vec!["w1@h".to_owned()]);
    send_messages(&app, vec![for_some.to_message(1, 0.0)]).await;
    let second = app.worker().hostname("w2@h").start().await.unwrap();
    let knows = async || {
        let mut asked = request("revoked", &j!({}));
        asked.destination = Some(vec!["w2@h".to_owned()]);
        crate::control::caller::call_with(&app, asked).await == j!(["a"])
    };
    until("the second one knows", knows).await;
    let third = app.worker().hostname("w3@h").mingle(false).start().await.unwrap();
    let mut asked = request("revoked", &j!({}));
    asked.destination = Some(vec!["w3@h".to_owned()]);
    assert_eq!(crate::control::caller::call_with(&app, asked).await, j!([]));
    for worker in [first, second, third] {
        worker.stop().await;
    }
}
