//! Ids and names of a message that begin lines and send what a terminal obeys: no line of the log, in either format, is
//! begun by them or has a control character.

use std::time::Duration;

use apium_app::app::app::App;
use apium_app::task::definition::Hooks;
use apium_app::task_error::TaskError;
use apium_protocol::message::message::Message;
use apium_transport::backend::chord::ChordHeader;
use apium_transport::broker::outgoing::Outgoing;
use apium_worker::builder::AppWorker as _;
use apium_worker::shutdown::kind::StopKind;
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::AppTest as _;
use serde_json::{Value, json};

use crate::logs::captured::{collect, events_with};
use crate::rig::{Gate, json as value, until, until_state};
use crate::switched_driver::{SwitchedDriver, Switches, URL};
use crate::task;

/// What every line of this test has in it.
const MARK: &str = "forged-id";
/// An id of which each sign may do harm: ends of lines, escapes, the controls of Latin-1, separators.
const FORGED: &str = "forged-id\nERROR \u{1b}[31mred\r\u{7f}\u{85}\u{9b}2J\u{2028}\u{2029}x";

const HOOKS: Hooks = Hooks {
    on_success: Some(|_, _| Box::pin(async { Err(TaskError::failure(FORGED)) })),
    after_return: Some(|_, _| Box::pin(async { panic!("{FORGED}") })),
    ..Hooks::NONE
};

task!(Quick = "f_quick", [], async |_ctx| Ok(value(FORGED)));
task!(Fails = "f_fails", [acks_late: Some(true)], async |_ctx| Err(TaskError::failure(FORGED)));
task!(Panics = "f_panics", [], async |_ctx| panic!("{FORGED}"));
task!(Rejects = "f_rejects", [acks_late: Some(true)], async |_ctx| Err(TaskError::reject_because(FORGED, false)));
task!(Retries = "f_retries", [max_retries: Some(Some(1))], async |ctx| {
    Err(ctx.retry().countdown(Duration::ZERO).cause(std::io::Error::other(FORGED)).into())
});
task!(Hooked = "f_hooked", [], hooks HOOKS, async |_ctx| Ok(value(1)));
task!(ErrbackFails = "f_errback_fails", [], fn no_ctx |_ctx| Err(TaskError::failure(FORGED)));
task!(ErrbackPanics = "f_errback_panics", [], fn no_ctx |_ctx| panic!("{FORGED}"));
task!(ErrbackWaits = "f_errback_waits", [time_limit: Some(Duration::from_secs(2))], fn no_ctx |ctx| {
    tokio::runtime::Handle::current().block_on(ctx.state::<Gate>().unwrap().pass());
    Ok(value(1))
});
task!(Progress = "f_progress", [], async |ctx| {
    let switches = ctx.state::<Switches>().unwrap();
    switches.cut_results(true);
    ctx.update_state(FORGED, 1).await?;
    switches.cut_results(false);
    Ok(value(1))
});
task!(Adds = "f_adds", [acks_late: Some(true)], async |ctx| {
    ctx.state::<Switches>().unwrap().cut_publish(true);
    ctx.add_to_chord(apium_app::canvas::node::Node::from_wire(&apium_protocol::message::signature::Signature::new(
        "f_quick",
    ))?)
    .await?;
    Ok(value(1))
});
task!(Blocks = "f_blocks", [], async |_ctx| {
    // Blocks its thread, as a task should not, until the watchdog has said so.
    while events_with("blocks the reactor")[0].is_empty() {
        std::hint::spin_loop();
    }
    Ok(value(1))
});

async fn app(switches: &Switches, gate: &Gate) -> TestApp {
    let builder = App::test().with(|app| app.autodiscover(false)).state(gate.clone()).state(switches.clone());
    let builder = builder.driver(SwitchedDriver::new(switches)).broker(URL).backend(URL);
    let builder = builder.register::<Quick>().register::<Fails>().register::<Panics>().register::<Rejects>();
    let builder = builder.register::<Retries>().register::<Hooked>().register::<ErrbackFails>();
    let builder = builder.register::<ErrbackPanics>().register::<ErrbackWaits>().register::<Progress>();
    builder.register::<Adds>().register::<Blocks>().build().await.unwrap()
}

/// Sends a message as any program may write it; the id is [`FORGED`] and its number.
async fn send(app: &App, task: &str, number: u32, embed: Value) -> String {
    let id = format!("{FORGED}{number}");
    let mut message = Message::default();
    message.properties.content_type = Some("application/json".into());
    message.headers.task = Some(task.into());
    message.headers.id = Some(id.as_str().into());
    message.headers.root_id = Some(id.as_str().into());
    message.headers.group = embed.get("chord").map(|_| FORGED.into());
    message.headers.group_index = embed.get("chord").map(|_| i64::from(number));
    message.body = json!([[], {}, embed]).to_string().into();
    app.broker().publish(vec![Outgoing::to_queue("celery", message)]).await.unwrap();
    id
}

fn signature(task: &str, options: Value) -> Value {
    json!({ "task": task, "args": [], "kwargs": {}, "options": options, "subtask_type": null, "immutable": false })
}

/// Lets an errback reach its time limit, and lets a cold stop cancel another one.
async fn end_errbacks(app: &TestApp, gate: &Gate) {
    let errbacks = json!({ "errbacks": [signature("f_errback_waits", json!({}))] });
    send(app, "f_fails", 20, errbacks.clone()).await;
    let worker = app.worker().concurrency(1).start().await.unwrap();
    gate.begun(1).await;
    app.clock().advance(Duration::from_secs(2));
    until("it is given up", async || !events_with("was given up after")[1].is_empty()).await;
    worker.stop().await;
    send(app, "f_fails", 21, errbacks).await;
    let worker = app.worker().concurrency(1).start().await.unwrap();
    gate.begun(1).await;
    worker.stop_as(StopKind::Cold).await;
    gate.open(2);
}

#[tokio::test]
async fn nothing_in_a_message_begins_a_line_of_the_log_or_has_a_control_character_there() {
    collect();
    let (switches, gate) = (Switches::default(), Gate::new());
    let app = app(&switches, &gate).await;
    let bad = json!({ "serializer": FORGED });
    for (number, task) in
        ["f_quick", "f_panics", "f_rejects", "f_retries", "f_hooked", "f_progress", FORGED].into_iter().enumerate()
    {
        send(&app, task, number as u32, json!({})).await;
    }
    send(&app, "f_blocks", 10, json!({})).await;
    let errbacks = ["f_errback_fails", "f_errback_panics"].map(|errback| signature(errback, json!({})));
    send(&app, "f_fails", 11, json!({ "errbacks": errbacks })).await;
    // What follows cannot be made: an errback that is sent, a callback, the step behind, and the body of a chord.
    send(&app, "f_fails", 12, json!({ "errbacks": [signature("f_quick", bad.clone())] })).await;
    send(&app, "f_quick", 13, json!({ "callbacks": [signature("f_quick", bad.clone())] })).await;
    let group = json!({ "task": FORGED, "args": [], "kwargs": { "tasks": [1] }, "subtask_type": "group" });
    send(&app, "f_fails", 14, json!({ "chain": [group, signature("f_quick", json!({}))] })).await;
    let mut options = bad.clone();
    options["task_id"] = "forged-body".into();
    let chord = json!({ "chord": signature("f_quick", options) });
    let chords = app.backend().unwrap().chords().unwrap();
    chords.open(ChordHeader::new(FORGED.to_owned(), 2)).await.unwrap();
    send(&app, "f_quick", 15, chord.clone()).await;
    let adds = send(&app, "f_adds", 16, chord).await;

    let worker = app.worker().concurrency(1).start().await.unwrap();
    until("it cannot add to its chord", async || !events_with("could not add to the chord")[1].is_empty()).await;
    switches.cut_publish(false);
    until_state(&app, &adds, "SUCCESS").await;
    until_state(&app, "forged-body", "FAILURE").await;
    worker.stop().await;
    end_errbacks(&app, &gate).await;

    let events = events_with(MARK);
    for part in [
        " received",
        " succeeded in ",
        " raised unexpected: Panic(",
        " rejected: ",
        " retry 1 in ",
        " goes to the dead set: no task of the name",
        "on_success of task f_hooked[",
        "after_return of task f_hooked[",
        "could not store the state ",
        "f_blocks[forged-id",
        "errback f_errback_fails of task ",
        "errback f_errback_panics of task ",
        " was given up after ",
        " was cancelled by the stop of its worker",
        "could not make the errbacks of the failed task ",
        "FollowUpError(",
        "could not read a step behind a failed task",
        "could not make the message of a chord's body",
        "could not add to the chord ",
    ] {
        for (format, events) in ["text", "JSON"].iter().zip(&events) {
            assert!(events.iter().any(|event| event.contains(part)), "nothing with {part:?} in the {format} log");
        }
    }
    for event in events.iter().flatten() {
        let line = event.strip_suffix('\n').unwrap();
        let bad = line.chars().find(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'));
        assert_eq!(bad, None, "a control character in {line:?}");
    }
    for event in &events[1] {
        assert!(serde_json::from_str::<Value>(event).is_ok(), "{event}");
    }
}
