//! Queues that are added, cancelled, paused and resumed while workers run.

use std::net::SocketAddr;

use apium_app::app::app::App;
use apium_transport::broker::fleet::{FleetLimits, FleetTopic};
use apium_worker::builder::AppWorker as _;
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::AppTest as _;
use serde_json::{Value, json as j};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::control::caller::{call, call_with, request, send_messages};
use crate::rig::{Notes, counts, json, state, until, until_state};
use crate::task;

task!(Note = "note", [], async |ctx| {
    let id = ctx.request().id().unwrap().to_string();
    ctx.state::<Notes>().unwrap().add(id);
    Ok(json(1))
});

async fn app(notes: &Notes) -> TestApp {
    let builder = App::test().with(|app| app.autodiscover(false)).state(notes.clone());
    builder.register::<Note>().build().await.unwrap()
}

async fn send(app: &App, queue: &str, id: &str) {
    app.sig("note").call().task_id(id).queue(queue).send(app).await.unwrap();
}

fn names(queues: &Value) -> Vec<&str> {
    queues.as_array().unwrap().iter().map(|queue| queue["name"].as_str().unwrap()).collect()
}

async fn ready(address: SocketAddr) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /ready HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    text.to_owned()
}

#[tokio::test]
async fn a_queue_is_added_and_cancelled() {
    let app = app(&Notes::default()).await;
    let worker = app.worker().start().await.unwrap();
    send(&app, "q2", "a").await;
    let arguments = j!({"queue": "q2", "exchange": null, "exchange_type": "direct", "routing_key": null});
    assert_eq!(call(&app, "add_consumer", arguments).await, j!({"ok": "add consumer q2"}));
    until_state(&app, "a", "SUCCESS").await;
    let arguments = j!({"queue": "q3", "exchange": "ex3", "exchange_type": "topic", "routing_key": "rk.#"});
    call(&app, "add_consumer", arguments).await;
    let queues = call(&app, "active_queues", j!({})).await;
    assert_eq!(names(&queues), ["celery", "q2", "q3"]);
    assert_eq!((&queues[2]["exchange"]["type"], &queues[2]["routing_key"]), (&j!("topic"), &j!("rk.#")));
    call(&app, "cancel_consumer", j!({"queue": "q2"})).await;
    until("nobody consumes it", async || counts(&app, "q2").await.consumers == 0).await;
    send(&app, "q2", "b").await;
    send(&app, "celery", "c").await;
    until_state(&app, "c", "SUCCESS").await;
    assert_eq!(state(&app, "b").await, "PENDING");
    let wrong = call(&app, "add_consumer", j!({"queue": " "})).await;
    assert_eq!(wrong, j!({"error": "ValueError('the name of the queue is empty')"}));
    worker.stop().await;
}

#[tokio::test]
async fn whoever_adds_a_queue_is_answered_when_it_is_consumed_or_refused() {
    let app = app(&Notes::default()).await;
    let worker = app.worker().start().await.unwrap();
    let arguments = j!({"queue": "q2", "exchange": "ex2", "exchange_type": "topic", "routing_key": "a.#"});
    assert_eq!(call(&app, "add_consumer", arguments).await, j!({"ok": "add consumer q2"}));
    assert_eq!(counts(&app, "q2").await.consumers, 1, "it is consumed when the answer comes");
    let answer = call(&app, "add_consumer", j!({"queue": "q3", "exchange": "ex2", "exchange_type": "fanout"})).await;
    let error = answer["error"].as_str().unwrap();
    assert!(error.starts_with("could not consume q3: could not "), "{error}");
    assert!(error.contains("ex2"), "{error}");
    assert_eq!(names(&call(&app, "active_queues", j!({})).await), ["celery", "q2"]);
    call(&app, "pause_queue", j!({"queue": "q4"})).await;
    let answer = call(&app, "add_consumer", j!({"queue": "q4"})).await;
    assert_eq!(answer, j!({"ok": "add consumer q4: it is consumed when it is resumed"}));
    assert_eq!(counts(&app, "q4").await.consumers, 0);
    call(&app, "resume_queue", j!({"queue": "q4"})).await;
    until("it is consumed", async || counts(&app, "q4").await.consumers == 1).await;
    // It is consumed already.
    assert_eq!(call(&app, "add_consumer", j!({"queue": "q4"})).await, j!({"ok": "add consumer q4"}));
    worker.stop().await;
}

#[tokio::test]
async fn a_paused_queue_is_paused_for_all_workers_and_for_those_that_start_later() {
    let app = app(&Notes::default()).await;
    let any = "127.0.0.1:0".parse().unwrap();
    let first = app.worker().hostname("w1@h").queues(["celery", "mail"]).health_listen(any).start().await.unwrap();
    let address = first.health_address().unwrap();
    assert_eq!(ready(address).await, "ready\n");
    let arguments = j!({"queue": "mail", "reason": "the server\nis full", "by": "ann"});
    assert_eq!(call(&app, "pause_queue", arguments).await, j!({"ok": "queue mail is paused"}));
    until("nobody consumes it", async || counts(&app, "mail").await.consumers == 0).await;
    let text = ready(address).await;
    assert!(text.starts_with("ready; paused queues: mail (since 2030-01-01T00:00:00Z by ann: the server"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    let fleet = app.broker().fleet().unwrap();
    let records = fleet.list(FleetTopic::PausedQueues, None, FleetLimits::new(9, None)).await.unwrap();
    assert_eq!((records.len(), &*records[0].key), (1, "mail"));
    assert_eq!(records[0].value.decode::<Value>().unwrap(), j!({"by": "ann", "reason": "the server\nis full"}));
    send(&app, "mail", "m").await;
    let second = app.worker().hostname("w2@h").queues(["mail", "celery"]).start().await.unwrap();
    send(&app, "celery", "c").await;
    until_state(&app, "c", "SUCCESS").await;
    first.stop().await;
    assert_eq!(names(&call(&app, "active_queues", j!({})).await), ["celery"]);
    assert_eq!((counts(&app, "mail").await.ready, state(&app, "m").await), (1, "PENDING".into()));
    assert_eq!(call(&app, "resume_queue", j!({"queue": "mail"})).await, j!({"ok": "queue mail is resumed"}));
    until_state(&app, "m", "SUCCESS").await;
    assert_eq!(fleet.list(FleetTopic::PausedQueues, None, FleetLimits::new(9, None)).await.unwrap(), []);
    second.stop().await;
}

/// Whoever pauses a queue has written that before workers hear of it. Were they to write it too, one that is slow would
/// pause the queue again after it was resumed.
#[tokio::test]
async fn what_is_written_already_is_not_written_by_workers() {
    let app = app(&Notes::default()).await;
    let worker = app.worker().queues(["celery", "mail"]).start().await.unwrap();
    let fleet = app.broker().fleet().unwrap();
    let kept = async || fleet.list(FleetTopic::PausedQueues, None, FleetLimits::new(9, None)).await.unwrap().len();
    let recorded = |method: &str| {
        let mut request = request(method, &j!({"queue": "mail"}));
        request.recorded = true;
        request
    };
    assert_eq!(call_with(&app, recorded("pause_queue")).await, j!({"ok": "queue mail is paused"}));
    assert_eq!((names(&call(&app, "active_queues", j!({})).await), kept().await), (vec!["celery"], 0));
    assert_eq!(call(&app, "pause_queue", j!({"queue": "mail"})).await, j!({"ok": "queue mail is paused"}));
    assert_eq!(call_with(&app, recorded("resume_queue")).await, j!({"ok": "queue mail is resumed"}));
    assert_eq!((names(&call(&app, "active_queues", j!({})).await), kept().await), (vec!["celery", "mail"], 1));
    worker.stop().await;
}

/// Commands take effect in the order in which they come, whatever there is to be written.
#[tokio::test]
async fn a_queue_that_is_paused_and_resumed_at_once_is_resumed() {
    let app = app(&Notes::default()).await;
    let worker = app.worker().queues(["celery", "mail"]).start().await.unwrap();
    let messages = (0..21).map(|number| {
        let method = if number % 2 == 0 { "resume_queue" } else { "pause_queue" };
        request(method, &j!({"queue": "mail"})).to_message(1, 0.0)
    });
    send_messages(&app, messages.collect()).await;
    assert_eq!(names(&call(&app, "active_queues", j!({})).await), ["celery", "mail"]);
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_all_of_whose_queues_are_paused_waits_for_them() {
    let app = app(&Notes::default()).await;
    let worker = app.worker().start().await.unwrap();
    call(&app, "pause_queue", j!({"queue": "celery"})).await;
    worker.stop().await;
    let worker = app.worker().start().await.unwrap();
    send(&app, "celery", "a").await;
    assert_eq!(call(&app, "active_queues", j!({})).await, j!([]));
    assert_eq!(state(&app, "a").await, "PENDING");
    call(&app, "resume_queue", j!({"queue": "celery"})).await;
    until_state(&app, "a", "SUCCESS").await;
    worker.stop().await;
}
