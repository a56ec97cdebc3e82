//! Messages that a task or a worker rejects. What Celery drops goes to the dead set here.

use apium::driver::DeadLetter;
use apium::prelude::*;
use apium::testing::TestApp;
use apium::worker::StopKind;

use crate::fixture::{Fixture, Records, records};
use crate::live::{counts, live, start, stop, value, wait_for_counts, wait_until};
use crate::scenarios::calling::says;

#[task(name = "scenarios.rejects_early")]
async fn rejects_early(ctx: &Ctx, State(records): State<Records>) -> TaskResult<()> {
    records.add(format!("redelivered={}", ctx.request().delivery_info.redelivered));
    Err(TaskError::reject(true))
}

#[task(name = "scenarios.rejects_once", acks_late)]
async fn rejects_once(ctx: &Ctx, State(records): State<Records>) -> TaskResult<()> {
    let redelivered = ctx.request().delivery_info.redelivered;
    records.add(format!("redelivered={redelivered}"));
    if redelivered { Ok(()) } else { Err(TaskError::reject(true)) }
}

async fn dead(app: &TestApp) -> Vec<DeadLetter> {
    app.broker().dead().unwrap().list(0, 10).await.unwrap()
}

/// Asserts that the queue is empty.
async fn assert_empty(app: &TestApp) {
    let stats = counts(app).await;
    assert_eq!((stats.ready, stats.unacked, stats.delayed), (0, 0, 0));
}

on_every_driver! {
    async fn an_early_ack_task_cannot_be_requeued(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = rejects_early::delay().send(&app).await.unwrap();
        app.drain().await;
        app.drain().await;
        assert_eq!(records(&app), ["redelivered=false"], "its message is gone: it runs once");
        assert_eq!(result.state().await.unwrap(), TaskState::Pending);
        assert_empty(&app).await;
        assert!(dead(&app).await.is_empty());
    }

    async fn a_late_ack_task_is_requeued_as_redelivered(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = rejects_once::delay().send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(records(&app), ["redelivered=false", "redelivered=true"]);
        assert_eq!(result.state().await.unwrap(), TaskState::Success);
        assert_empty(&app).await;
    }

    async fn unaccepted_content_is_dead_lettered_and_never_run(fixture: &Fixture) {
        let app = fixture.builder().setting("accept_content", ["json"]).build().await.unwrap();
        let result = says::delay("unpickled".into()).send(&app).await.unwrap();
        let mut sent = app.sent_by_name(says::NAME).pop().unwrap();
        app.broker().queues().unwrap().purge("celery").await.unwrap();
        sent.message.properties.content_type = Some("application/x-python-serialize".into());
        sent.message.properties.content_encoding = Some("binary".into());
        sent.message.body = bytes::Bytes::from_static(b"\x80\x04N.");
        app.broker().publish(vec![sent.clone()]).await.unwrap();
        app.drain().await;
        assert_eq!(records(&app), [""; 0]);
        assert_eq!(result.state().await.unwrap(), TaskState::Pending);
        assert_empty(&app).await;
        let dead_letters = dead(&app).await;
        assert_eq!(dead_letters.len(), 1);
        assert_eq!((dead_letters[0].code.as_str(), dead_letters[0].queue.as_str()), ("content-type", "celery"));
        assert!(dead_letters[0].reason.contains("pickle") || dead_letters[0].reason.contains("python-serialize"), "{}", dead_letters[0].reason);
        assert_eq!(dead_letters[0].message.as_ref().unwrap().body, sent.message.body, "its bytes are unchanged");
    }

    async fn an_unknown_task_fails_and_is_dead_lettered(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = app.sig("no.such.task").args((1, 2)).send().await.unwrap();
        app.drain().await;
        assert_eq!(result.state().await.unwrap(), TaskState::Failure);
        let error = result.get().await.unwrap_err();
        let exception = error.failure().unwrap().exception();
        assert!(exception.is("celery.exceptions.NotRegistered"), "{exception:?}");
        assert_eq!(exception.message(), "no.such.task");
        assert_empty(&app).await;
        let dead_letters = dead(&app).await;
        assert_eq!(dead_letters.len(), 1);
        assert_eq!((dead_letters[0].code.as_str(), dead_letters[0].task.as_deref()), ("unknown-task", Some("no.such.task")));
        assert_eq!(dead_letters[0].task_id.as_deref(), Some(result.id().as_str()));
    }
}

/// Messages that cannot be read are rejected as the tests of the guarantee `nothing-dropped` show.
#[tokio::test]
async fn on_rabbitmq_a_late_ack_task_is_requeued_and_an_early_ack_task_is_not() {
    let fixture = Fixture::rabbitmq();
    let builder = live(&fixture).register::<rejects_early>().register::<rejects_once>();
    let app = builder.build().await.unwrap();
    let worker = start(&app, 1).await;
    let early = rejects_early::delay().send(&app).await.unwrap();
    let mut ran = Vec::new();
    wait_until("the early-ack task has run", async || {
        ran.extend(records(&app));
        !ran.is_empty()
    })
    .await;
    let once = rejects_once::delay().send(&app).await.unwrap();
    value(&once).await;
    ran.extend(records(&app));
    assert_eq!(ran, ["redelivered=false", "redelivered=false", "redelivered=true"]);
    assert_eq!(early.state().await.unwrap(), TaskState::Pending);
    stop(worker, StopKind::Warm).await;
    wait_for_counts(&app, 0, 0).await;
    assert_eq!(app.broker().dead().unwrap().count().await.unwrap(), 0);
}
