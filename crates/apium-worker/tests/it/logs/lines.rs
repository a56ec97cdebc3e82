//! The lines that a worker logs.

use std::time::Duration;

use apium_app::app::app::App;
use apium_app::task_error::TaskError;
use apium_protocol::message::message::Message;
use apium_transport::broker::outgoing::Outgoing;
use apium_worker::builder::AppWorker as _;
use apium_worker::testing::builder::AppTest as _;

use crate::logs::captured::{collect, logged};
use crate::rig::{json, send, until};
use crate::task;

task!(Good = "good", [], async |_ctx| {
    tracing::info!("from inside");
    Ok(json(vec![1, 2]))
});
task!(Bad = "bad", [], async |_ctx| Err(TaskError::failure("no luck")));
task!(Rejects = "rejects", [acks_late: Some(true)], async |_ctx| Err(TaskError::reject_because("not mine", false)));
task!(Ignores = "ignores", [], async |_ctx| Err(TaskError::ignore()));

#[tokio::test]
async fn each_run_that_ends_is_logged_with_the_tasks_name_and_id() {
    collect();
    let builder = App::test().with(|app| app.autodiscover(false)).register::<Good>().register::<Bad>();
    let app = builder.register::<Rejects>().register::<Ignores>().build().await.unwrap();
    for task in ["good", "bad", "rejects", "ignores"] {
        send(&app, task, &format!("id-{task}")).await;
    }
    app.drain().await;
    let text = logged();
    for line in [
        "task good[id-good] received",
        "name=\"good\" id=\"id-good\"}: it::logs::lines: from inside",
        "task good[id-good] succeeded in ",
        ": [1, 2]",
        "task bad[id-bad] raised unexpected: TaskError('no luck')",
        "task rejects[id-rejects] rejected: not mine",
        "task ignores[id-ignores] ignored",
    ] {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }
}

task!(Elsewhere = "elsewhere", [queue: Some("images".into())], async |_ctx| Ok(json(1)));

#[tokio::test]
async fn a_worker_says_which_tasks_go_to_queues_that_it_does_not_consume_unless_its_queues_are_named() {
    collect();
    let builder = App::test().with(|app| app.autodiscover(false)).register::<Good>().register::<Elsewhere>();
    let app = builder.build().await.unwrap();
    let says = || logged().contains("elsewhere goes to the queue images, which this worker does not consume");
    app.worker().queues(["celery"]).start().await.unwrap().stop().await;
    assert!(!says(), "{}", logged());
    app.worker().start().await.unwrap().stop().await;
    assert!(says() && logged().contains("-Q celery,images"), "{}", logged());
}

task!(Forges = "forges", [], async |_ctx| Err(TaskError::failure("no luck\n2026-01-01 INFO all is well \u{1b}[2J")));
task!(Returns = "returns", [], async |_ctx| Ok(json("one\ntwo")));

#[tokio::test]
async fn nobody_but_the_worker_begins_a_line_of_its_log() {
    collect();
    let builder = App::test().with(|app| app.autodiscover(false)).register::<Forges>().register::<Returns>();
    let app = builder.register::<Rejects>().build().await.unwrap();
    for task in ["forges", "returns", "un\nknown"] {
        send(&app, task, "id\nERROR \u{1b}[31mforged").await;
    }
    app.drain().await;
    let text = logged();
    assert!(!text.contains('\u{1b}'), "{text}");
    for line in text.lines() {
        assert!(line.starts_with("20"), "this line was begun by a message: {line:?} in:\n{text}");
    }
    assert!(text.contains(r"task forges[id\nERROR \u001b[31mforged] raised unexpected: "), "{text}");
    assert!(text.contains(r"no luck\n2026-01-01 INFO all is well \u001b[2J"), "{text}");
    assert!(text.contains(r"one\ntwo"), "{text}");
}

task!(Retries = "retries", [max_retries: Some(Some(1))], async |ctx| {
    Err(ctx.retry().countdown(Duration::from_millis(2500)).cause(std::fmt::Error).into())
});

#[tokio::test]
async fn a_retry_is_logged_with_its_number_its_delay_and_its_cause_once() {
    collect();
    let app = App::test().with(|app| app.autodiscover(false)).register::<Retries>().build().await.unwrap();
    send(&app, "retries", "id-retry").await;
    app.drain().await;
    let text = logged();
    let line = text.lines().find(|line| line.contains("] retry")).unwrap_or_else(|| panic!("no retry in:\n{text}"));
    assert!(line.contains("task retries[id-retry] retry 1 in 2.5s: "), "{line}");
    assert_eq!(line.matches("an error occurred when formatting").count(), 1, "{line}");
}

task!(Panics = "panics", [], async |_ctx| panic!("boom"));
task!(PlainPanics = "plain_panics", [], fn |_ctx| panic!("boom"));

#[tokio::test]
async fn a_panic_is_logged_with_its_place() {
    collect();
    let builder = App::test().with(|app| app.autodiscover(false)).register::<Panics>().register::<PlainPanics>();
    let app = builder.build().await.unwrap();
    for task in ["panics", "plain_panics"] {
        send(&app, task, task).await;
    }
    app.drain().await;
    let text = logged();
    for task in ["panics", "plain_panics"] {
        let name = format!("task {task}[{task}] raised unexpected: Panic('boom')");
        let line = text.lines().find(|line| line.contains(&name));
        let line = line.unwrap_or_else(|| panic!("no {name:?} in:\n{text}"));
        assert!(line.contains(&format!("panicked at {}:", file!())), "{line}");
        let document = app.result::<()>(task).document().await.unwrap().unwrap();
        let traceback = document.traceback.unwrap();
        assert!(traceback.contains(file!()) && traceback.ends_with("apium.Panic: boom\n"), "{traceback}");
    }
}

#[tokio::test]
async fn an_error_is_logged_with_each_cause_once() {
    collect();
    let app = App::test().with(|app| app.autodiscover(false)).register::<Bad>().build().await.unwrap();
    let mut message = Message::default();
    message.properties.content_type = Some("application/json".into());
    message.headers.task = Some("bad".into());
    message.headers.id = Some("id-chain".into());
    // The chain is in reverse order: the step behind "good" is a group whose member is no signature.
    message.body = r#"[[], {}, {"chain": [
        {"task": "celery.group", "args": [], "kwargs": {"tasks": [1]}, "subtask_type": "group"},
        {"task": "good", "args": [], "kwargs": {}, "options": {"task_id": "id-good"}}
    ]}]"#
        .into();
    app.publisher().publish(vec![Outgoing::to_queue("celery", message)]).await.unwrap();
    app.drain().await;
    let text = logged();
    let line = text.lines().find(|line| line.contains("could not read a step behind a failed task"));
    let line = line.unwrap_or_else(|| panic!("no step was refused:\n{text}"));
    let error = line.split_once("error=").unwrap().1;
    assert!(error.starts_with("read the signature of celery.group: decode the value: "), "{line}");
    for cause in ["read the signature", "decode the value", "signature of", "a map"] {
        assert!(line.matches(cause).count() <= 1, "{cause} is there twice: {line}");
    }
}

#[tokio::test]
async fn a_second_worker_of_one_name_is_a_warning_in_both_logs() {
    collect();
    let app = App::test().with(|app| app.autodiscover(false)).register::<Good>().build().await.unwrap();
    let worker = || app.worker().hostname("w1@here").concurrency(1);
    let warnings = || logged().matches("another worker is named w1@here too").count();
    let first = worker().start().await.unwrap();
    let second = worker().start().await.unwrap();
    until("the second worker's warning", async || warnings() > 0).await;
    app.clock().advance(Duration::from_secs(30));
    until("the first worker's warning", async || warnings() == 2).await;
    second.stop().await;
    first.stop().await;
}

task!(NoContext = "no_context", [], fn no_ctx |_ctx| Ok(json(1)));
task!(HasContext = "has_context", [], fn |_ctx| Ok(json(1)));

#[tokio::test]
async fn a_calls_soft_limit_that_its_task_cannot_see_is_one_warning() {
    collect();
    let builder = App::test().with(|app| app.autodiscover(false)).register::<NoContext>().register::<HasContext>();
    let app = builder.register::<Good>().build().await.unwrap();
    for n in 0..3 {
        for task in ["no_context", "has_context", "good"] {
            let call = app.sig(task).call().task_id(format!("{task}{n}")).soft_time_limit(Duration::from_secs(9));
            call.send(&app).await.unwrap();
        }
        send(&app, "no_context", &format!("plain{n}")).await;
    }
    let worker = app.worker().concurrency(2).start().await.unwrap();
    until("all have run", async || logged().matches("succeeded in").count() == 12).await;
    worker.stop().await;
    let text = logged();
    assert_eq!(text.matches("soft time limit of a call").count(), 1, "{text}");
    assert!(text.contains("WARN") && text.contains("a call of no_context has no effect"), "{text}");
}
