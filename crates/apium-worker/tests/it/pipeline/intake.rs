//! Intake: messages that cannot be read, tasks that are unknown, and tasks whose eta is to come or whose expiry has
//! passed.

use std::time::Duration;

use apium_app::app::app::App;
use apium_app::task_error::TaskError;
use apium_protocol::codecs::serializer::Serializer;
use apium_protocol::error::Result as ProtocolResult;
use apium_protocol::message::message::Message;
use apium_protocol::value::value::Value;
use apium_transport::broker::outgoing::Outgoing;
use apium_worker::builder::AppWorker as _;
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::AppTest as _;

use futures_util::StreamExt as _;

use crate::rig::{Gate, Notes, counts, dead, exception, json, send, state, until_counts, until_state};
use crate::task;

task!(Add = "add", [], async |ctx| {
    ctx.state::<Notes>().unwrap().add("ran");
    match ctx.request().body.args.len() {
        0 => Err(TaskError::failure("no arguments")),
        count => Ok(json(count)),
    }
});

async fn app(notes: &Notes) -> TestApp {
    let builder = App::test().with(|app| app.autodiscover(false)).state(notes.clone());
    builder.register::<Add>().build().await.unwrap()
}

/// Publishes the message of `add(1)` as `change` leaves it.
async fn send_changed(app: &TestApp, id: &str, change: impl FnOnce(&mut Message)) {
    let mut message = Message::default();
    message.properties.content_type = Some("application/json".into());
    message.properties.content_encoding = Some("utf-8".into());
    message.headers.task = Some("add".into());
    message.headers.id = Some(id.into());
    message.body = r#"[[1], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]"#.into();
    change(&mut message);
    app.publisher().publish(vec![Outgoing::to_queue("celery", message)]).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_read_goes_to_the_dead_set_and_its_state_is_celerys() {
    type Change = fn(&mut Message);
    let table: [(&str, Change, &str, &str); 8] = [
        ("good", |_| {}, "", "SUCCESS"),
        ("unknown", |m| m.headers.task = Some("no.such".into()), "unknown-task", "FAILURE"),
        (
            "pickle",
            |m| m.properties.content_type = Some("application/x-python-serialize".into()),
            "content-type",
            "PENDING",
        ),
        ("yaml", |m| m.properties.content_type = Some("application/x-yaml".into()), "content-type", "PENDING"),
        ("odd", |m| m.properties.content_type = Some("application/odd".into()), "content-type", "PENDING"),
        ("cut", |m| m.body = m.body.slice(..20), "undecodable", "PENDING"),
        ("bad-eta", |m| m.headers.eta = Some("tomorrow".into()), "bad-eta", "PENDING"),
        (
            "linked",
            |m| {
                m.body = r#"[[1], {}, {"callbacks": [{"task": "add", "args": [], "kwargs": {}, "options": {}, "subtask_type": "no such type", "immutable": false}]}]"#.into()
            },
            "follow-ups",
            // Celery runs the task first, and then it fails.
            "FAILURE",
        ),
    ];
    for (id, change, code, wanted) in table {
        let notes = Notes::default();
        let app = app(&notes).await;
        send_changed(&app, id, change).await;
        app.drain().await;
        let codes: Vec<String> = dead(&app).await.into_iter().map(|(code, _)| code).collect();
        let expected: Vec<String> = Some(code).filter(|code| !code.is_empty()).map(str::to_owned).into_iter().collect();
        assert_eq!(codes, expected, "{id}: {:?}", dead(&app).await);
        assert_eq!(state(&app, id).await, wanted, "{id}");
        let left = counts(&app, "celery").await;
        assert_eq!((left.ready, left.unacked), (0, 0), "{id}");
        assert_eq!(notes.all().len(), usize::from(id == "good"), "{id}");
    }
}

/// As in Celery the steps before it run. Its own text is read when the step before it comes, and that one must not run.
#[tokio::test]
async fn a_step_that_cannot_be_read_is_noticed_when_the_step_before_it_comes() {
    let notes = Notes::default();
    let app = app(&notes).await;
    let step = |args: &str, id: &str| {
        format!(r#"{{"task": "add", "args": {args}, "options": {{"task_id": "{id}"}}, "immutable": true}}"#)
    };
    let chain = [step("5", "third"), step("[2]", "second"), step("[1]", "first")].join(", ");
    send_changed(&app, "id", |message| message.body = format!(r#"[[0], {{}}, {{"chain": [{chain}]}}]"#).into()).await;
    app.drain().await;
    assert_eq!(notes.all().len(), 2);
    assert_eq!((state(&app, "first").await, state(&app, "second").await), ("SUCCESS".into(), "PENDING".into()));
    let dead = dead(&app).await;
    assert!(matches!(&*dead, [(code, reason)] if code == "undecodable" && reason.contains("`args`")), "{dead:?}");
}

#[tokio::test]
async fn the_reason_of_a_dead_letter_tells_every_cause() {
    let app = app(&Notes::default()).await;
    send_changed(&app, "odd", |message| message.body = r#"[[1], {}, {"callbacks": 5}]"#.into()).await;
    app.drain().await;
    let reason =
        "could not read the body as `[args, kwargs, embed]`: read `embed`: read JSON at byte 24: `[` is missing";
    assert_eq!(dead(&app).await, [("undecodable".to_owned(), reason.to_owned())]);
}

#[tokio::test]
async fn an_unknown_task_is_not_registered_and_its_message_can_be_replayed() {
    let notes = Notes::default();
    let app = app(&notes).await;
    send(&app, "no.such", "id").await;
    app.drain().await;
    assert_eq!(exception(&app, "id").await, ("NotRegistered".into(), serde_json::json!(["no.such"])));
    let set = app.broker().dead().unwrap();
    let dead_letter = set.list(0, 1).await.unwrap().remove(0);
    assert_eq!(dead_letter.message.unwrap().headers.task.as_deref(), Some("no.such"));
    assert_eq!(set.replay(vec![dead_letter.key]).await.unwrap(), 1);
    assert_eq!(counts(&app, "celery").await.ready, 1);
}

#[tokio::test]
async fn an_eta_is_the_earliest_start() {
    let notes = Notes::default();
    let app = app(&notes).await;
    app.sig("add").args((1,)).call().task_id("id").countdown(Duration::from_secs(3)).send(&app).await.unwrap();
    assert_eq!(app.drain().await, 0);
    assert_eq!(app.advance(Duration::from_millis(2_999)).await, 0);
    assert_eq!(app.advance(Duration::from_millis(1)).await, 1);
    assert_eq!(state(&app, "id").await, "SUCCESS");
}

#[tokio::test]
async fn an_eta_that_the_publisher_did_not_tell_the_broker_is_delayed_by_the_worker() {
    let notes = Notes::default();
    let app = app(&notes).await;
    let eta = apium_protocol::timestamp::format(app.now() + Duration::from_secs(5));
    send_changed(&app, "id", |message| message.headers.eta = Some(eta)).await;
    assert_eq!(app.drain().await, 0);
    let delayed = counts(&app, "celery").await;
    assert_eq!((delayed.ready, delayed.unacked, delayed.delayed), (0, 0, 1), "it is in no worker's memory");
    assert_eq!(app.advance(Duration::from_secs(5)).await, 1);
}

task!(Waits = "waits", [acks_late: Some(true)], async |ctx| {
    ctx.state::<Gate>().unwrap().pass().await;
    Ok(json(1))
});
task!(Tracked = "tracked", [track_started: Some(true)], async |_ctx| Ok(json(1)));

#[tokio::test]
async fn an_expired_task_is_revoked_on_receipt_although_every_slot_is_busy() {
    let gate = Gate::new();
    let builder = App::test().with(|app| app.autodiscover(false)).state(gate.clone());
    let app = builder.register::<Waits>().register::<Tracked>().build().await.unwrap();
    send(&app, "waits", "first").await;
    let worker = app.worker().concurrency(1).prefetch_multiplier(4).start().await.unwrap();
    gate.begun(1).await;
    app.sig("tracked").call().task_id("id").expires_in(Duration::ZERO).send(&app).await.unwrap();
    // This one has expired although its eta is still to come.
    let past = apium_protocol::timestamp::format(app.now() - Duration::from_secs(1));
    let ahead = apium_protocol::timestamp::format(app.now() + Duration::from_secs(60));
    send_changed(&app, "both", |message| {
        message.headers.task = Some("tracked".into());
        (message.headers.eta, message.headers.expires) = (Some(ahead), Some(past));
    })
    .await;
    until_state(&app, "id", "REVOKED").await;
    until_state(&app, "both", "REVOKED").await;
    until_counts(&app, 0, 1).await;
    gate.open(1);
    assert_eq!(worker.stop().await.finished, 3);
}

#[tokio::test]
async fn a_task_that_expires_while_it_waits_for_a_slot_is_never_started() {
    let gate = Gate::new();
    let builder = App::test().with(|app| app.autodiscover(false)).state(gate.clone());
    let app = builder.register::<Waits>().register::<Tracked>().build().await.unwrap();
    send(&app, "waits", "first").await;
    let worker = app.worker().concurrency(1).prefetch_multiplier(4).start().await.unwrap();
    gate.begun(1).await;
    let call = app.sig("tracked").call().task_id("id").expires_in(Duration::from_secs(5));
    let result = call.send(&app).await.unwrap();
    let mut states = std::pin::pin!(result.watch().await.unwrap());
    until_counts(&app, 0, 2).await;
    app.clock().advance(Duration::from_secs(5));
    gate.open(1);
    // REVOKED is the first state that a watcher sees, so it was never STARTED.
    let first = states.next().await.unwrap().unwrap();
    assert_eq!(first.state.as_str(), "REVOKED");
    until_counts(&app, 0, 0).await;
    worker.stop().await;
}

/// A serializer that panics when it decodes.
struct Panicking;

impl Serializer for Panicking {
    fn name(&self) -> &str {
        "panicking"
    }

    fn content_type(&self) -> &str {
        "application/x-panicking"
    }

    fn encode(&self, _: &Value) -> ProtocolResult<Vec<u8>> {
        Ok(Vec::new())
    }

    fn decode(&self, _: &[u8]) -> ProtocolResult<Value> {
        panic!("decoded")
    }
}

#[tokio::test]
async fn a_serializer_that_panics_dead_letters_its_message_and_does_not_stop_the_worker() {
    let notes = Notes::default();
    let builder = App::test().with(|app| app.autodiscover(false).serializer(Panicking)).state(notes.clone());
    let builder = builder.setting("accept_content", vec!["json", "panicking"]);
    let app = builder.register::<Add>().build().await.unwrap();
    send_changed(&app, "bad", |message| message.properties.content_type = Some("application/x-panicking".into())).await;
    send_changed(&app, "good", |_| {}).await;
    app.drain().await;
    assert_eq!(dead(&app).await, [("undecodable".to_owned(), "its serializer panicked".to_owned())]);
    assert_eq!(state(&app, "good").await, "SUCCESS");
}

#[tokio::test]
async fn an_expired_task_is_revoked_and_never_runs() {
    let notes = Notes::default();
    let app = app(&notes).await;
    let call = app.sig("add").args((1,)).call().task_id("id").countdown(Duration::from_millis(1_500));
    call.expires_in(Duration::from_millis(500)).send(&app).await.unwrap();
    app.advance(Duration::from_secs(2)).await;
    assert_eq!(exception(&app, "id").await, ("TaskRevokedError".into(), serde_json::json!(["expired"])));
    assert_eq!(state(&app, "id").await, "REVOKED");
    assert!(notes.all().is_empty());
}
