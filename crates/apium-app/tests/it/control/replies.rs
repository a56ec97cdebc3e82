//! What a caller makes of replies: typed answers, none, late ones, foreign ones and broken ones.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use apium_app::control::replies::ReplyError;
use apium_app::control::task_info::TaskPhase;
use apium_app::error::ErrorKind;
use apium_protocol::json::text::Json;
use apium_protocol::message::control::ControlReply;
use apium_protocol::message::message::Message;
use bytes::Bytes;
use tokio::time::Instant;

use crate::control::fake_worker::{FakeWorker, NODE, reply};
use crate::kit;
use crate::result::trees::vector;

/// The captured answer of a Python worker.
fn captured(name: &str) -> String {
    let capture = vector(&format!("control_{name}"));
    capture["redis"]["client_return_value"][NODE].to_string()
}

async fn worker_of(app: &apium_app::app::app::App, name: &str) -> FakeWorker {
    let answer = captured(name);
    FakeWorker::start(app, move |request| vec![reply(request, NODE, &answer)]).await
}

#[tokio::test]
async fn the_answers_of_a_python_worker_have_types() {
    let app = kit::app().await.0;
    let inspect = app.inspect().destination([NODE]);

    let worker = worker_of(&app, "stats").await;
    let replies = inspect.stats().replies().await.unwrap();
    let stats = replies.get(NODE).unwrap().answer.clone().unwrap();
    assert_eq!((stats.total["tasks.sleep"], stats.accepted(), stats.pid, stats.clock), (2, 2, Some(30_007), Some(24)));
    assert_eq!((stats.uptime, stats.prefetch_count), (Some(Duration::from_secs(13)), Some(9)));
    assert_eq!(stats.pool.implementation.as_deref(), Some("celery.concurrency.prefork:TaskPool"));
    assert_eq!((stats.pool.max_concurrency, stats.pool.processes.len()), (Some(2), 2));
    assert!(stats.others.contains_key("rusage") && stats.pool.others.contains_key("writes"), "{stats:?}");
    drop(worker);

    let worker = worker_of(&app, "active").await;
    let replies = inspect.active().replies().await.unwrap();
    let active = replies.get(NODE).unwrap().answer.as_ref().unwrap();
    let first = &active[0];
    assert_eq!(
        (first.id.as_str(), &*first.name, &*first.task),
        ("cafe0000-0000-4000-9000-000000000002", "tasks.sleep", "tasks.sleep")
    );
    assert_eq!(
        (first.args.as_str(), &*first.routing_key, first.priority, first.worker_pid),
        ("[41]", "celery", Some(2), Some(30_071))
    );
    assert!(first.acknowledged && !first.redelivered && first.time_start.is_some(), "{first:?}");
    drop(worker);

    let worker = worker_of(&app, "scheduled").await;
    let replies = inspect.scheduled().replies().await.unwrap();
    let scheduled = &replies.get(NODE).unwrap().answer.as_ref().unwrap()[0];
    assert_eq!(scheduled.eta.unwrap().to_string(), "2026-11-22T16:13:57.569732Z");
    assert_eq!((scheduled.priority, &*scheduled.task.name), (Some(6), "tasks.add"));
    drop(worker);

    let worker = worker_of(&app, "query_task").await;
    let replies = inspect.query_task(["x"]).replies().await.unwrap();
    let found = replies.get(NODE).unwrap().answer.as_ref().unwrap();
    let (phase, info) = &found[&"cafe0000-0000-4000-9000-000000000001".into()];
    assert_eq!((phase, info.time_start.is_some()), (&TaskPhase::Active, true));
    drop(worker);

    let worker = worker_of(&app, "active_queues").await;
    let replies = inspect.active_queues().replies().await.unwrap();
    let queue = &replies.get(NODE).unwrap().answer.as_ref().unwrap()[0];
    assert_eq!(
        (&*queue.name, &*queue.exchange, &*queue.exchange_type, queue.durable),
        ("celery", "celery", "direct", true)
    );
    drop(worker);

    let _worker = worker_of(&app, "hello").await;
    let hello = inspect.hello("me@node", &[]).replies().await.unwrap();
    let hello = hello.get(NODE).unwrap().answer.clone().unwrap();
    assert_eq!((hello.revoked, hello.clock), (vec!["a".to_owned(), "b".to_owned()], 22));
}

#[tokio::test(start_paused = true)]
async fn nobody_replies_and_the_wait_ends_after_its_timeout() {
    let app = kit::app().await.0;
    let began = Instant::now();
    let replies = app.inspect().ping().replies().await.unwrap();
    assert!(replies.is_empty() && replies.get(NODE).is_none());
    assert_eq!(began.elapsed(), Duration::from_secs(1));
    let began = Instant::now();
    assert!(app.control().timeout(Duration::from_secs(7)).ping().replies().await.unwrap().is_empty());
    assert_eq!(began.elapsed(), Duration::from_secs(7));
    app.control().ping().send().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_wait_goes_on_from_each_reply_and_ends_when_all_have_replied() {
    let app = kit::app().await.0;
    let worker = FakeWorker::start(&app, |request| {
        ["a@h", "b@h", "c@h"].map(|node| reply(request, node, r#"{"ok": "pong"}"#)).to_vec()
    })
    .await;
    let began = Instant::now();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = seen.clone();
    let ping = app.control().ping().on_reply(move |reply| record.lock().unwrap().push(reply.node.clone()));
    let replies = ping.replies().await.unwrap();
    assert_eq!((replies.len(), began.elapsed()), (3, Duration::from_secs(1)));
    assert_eq!(*seen.lock().unwrap(), ["a@h", "b@h", "c@h"]);
    assert!(replies.answers().all(|(_, answer)| answer == "pong"));

    let began = Instant::now();
    assert_eq!(app.control().destination(["a@h", "b@h", "b@h"]).ping().replies().await.unwrap().len(), 2);
    assert_eq!(app.control().limit(1).ping().replies().await.unwrap().len(), 1);
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(worker.requests()[1].destination.as_ref().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_one_worker_is_that_workers_error() {
    let app = kit::app().await.0;
    let _worker = FakeWorker::start(&app, |request| {
        let answers = [("a@h", r#"{"error": "unknown task"}"#), ("b@h", r#"{"ok": "done"}"#), ("c@h", "null")];
        answers.map(|(node, answer)| reply(request, node, answer)).to_vec()
    })
    .await;
    let replies = app.control().rate_limit("no.such", "1/s").replies().await.unwrap();
    assert_eq!(replies.errors().collect::<Vec<_>>(), [("a@h", &ReplyError::Refused("unknown task".into()))]);
    let answers: Vec<(&str, &str)> = replies.answers().map(|(node, answer)| (node, answer.as_str())).collect();
    assert_eq!(answers, [("b@h", "done"), ("c@h", "null")]);
    // An answer of the wrong shape.
    let replies = app.inspect().stats().replies().await.unwrap();
    assert!(matches!(replies.get("c@h").unwrap().answer, Err(ReplyError::Unreadable(_))), "{replies:?}");
}

/// The cases of the capture that Celery's own client was given.
#[tokio::test(start_paused = true)]
async fn replies_without_a_ticket_count_and_those_of_another_one_and_broken_ones_do_not() {
    let app = kit::app().await.0;
    let pong = Json::from_text(r#"{"ok": "pong"}"#).unwrap();
    let broken = |body: &'static str| {
        let mut message = ControlReply::message("x@h", &Json::NULL, None, 1);
        message.body = Bytes::from_static(body.as_bytes());
        message
    };
    let other_content = {
        let mut message = ControlReply::message("x@h", &pong, None, 1);
        message.properties.content_type = Some("application/x-python-serialize".into());
        message
    };
    let cases: Vec<(Message, usize)> = vec![
        (ControlReply::message("rust@node", &pong, None, 1), 1),
        (ControlReply::message("rust@node", &pong, Some("another"), 1), 0),
        (broken("{"), 0),
        (broken("[1]"), 0),
        (broken("{}"), 0),
        (broken(r#"{"a": 1, "b": 2}"#), 0),
        (broken("\u{1b}[2J"), 0),
        (other_content, 0),
    ];
    for (message, expected) in cases {
        let text = format!("{message:?}");
        let answer = message.clone();
        let _worker = FakeWorker::start(&app, move |_| vec![answer.clone()]).await;
        assert_eq!(app.control().ping().replies().await.unwrap().len(), expected, "{text}");
    }
    assert!(vector("acceptance_control_replies")["cases"]["wrong_ticket"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_clock_that_jumps_is_taken_over_unless_no_counter_reaches_it() {
    let app = kit::app().await.0;
    let at = |clock: u64| {
        move |request: &apium_protocol::message::control::ControlRequest| {
            vec![ControlReply::message(NODE, &Json::NULL, request.ticket.as_deref(), clock)]
        }
    };
    let worker = FakeWorker::start(&app, at(100)).await;
    app.control().limit(1).ping().replies().await.unwrap();
    assert_eq!(app.lamport_clock().value(), 101);
    drop(worker);
    let _worker = FakeWorker::start(&app, at(u64::MAX)).await;
    app.control().limit(1).ping().replies().await.unwrap();
    assert!(app.lamport_clock().value() < 110, "{}", app.lamport_clock().value());
}

#[tokio::test]
async fn an_app_without_a_broker_is_a_clear_error_before_anything_is_sent() {
    let app = kit::app_of(apium_app::builder::AppBuilder::new("proj", Vec::new()).autodiscover(false)).await.0;
    let errors = [
        app.control().ping().send().await.unwrap_err(),
        app.inspect().ping().replies().await.unwrap_err(),
        app.control().revoke("x").send().await.unwrap_err(),
        app.events().listen().await.map(drop).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Config, "{error:#}");
        let text = error.to_string();
        assert!(text.contains("no broker is configured; name one with .broker(…)"), "{text}");
    }
}

#[tokio::test]
async fn a_closed_broker_is_an_error() {
    let app = kit::app().await.0;
    app.close().await.unwrap();
    let error = app.control().ping().send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Publish);
    assert!(format!("{error:#}").contains("send the command ping"), "{error:#}");
    assert_eq!(app.inspect().ping().replies().await.unwrap_err().kind(), ErrorKind::Publish);
}

#[test]
fn programs_without_a_runtime_send_and_wait_too() {
    let app = kit::builder().build_blocking().unwrap();
    app.control().ping().send_blocking().unwrap();
    let control = app.control().timeout(Duration::from_millis(1));
    assert!(control.ping().replies_blocking().unwrap().is_empty());
    assert!(control.revoke("x").replies_blocking().unwrap().is_empty());
    app.result::<i64>("x").revoke().send_blocking().unwrap();
}
