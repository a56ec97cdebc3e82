//! Each reason for the dead set, and the state in which it leaves the task. `docs/PROMISES.md` has the same table.

use apium_app::app::app::App;
use apium_app::task_error::TaskError;
use apium_protocol::message::message::Message;
use apium_transport::broker::outgoing::Outgoing;
use apium_worker::builder::AppWorker as _;
use apium_worker::shutdown::kind::StopKind;
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::AppTest as _;

use crate::rig::{Gate, counts, dead, exception, json, state, stored, until, until_counts};
use crate::switched_driver::{SwitchedDriver, Switches, URL};
use crate::task;

task!(Late = "late", [acks_late: Some(true)], async |_ctx| Ok(json(1)));
task!(Rejects = "rejects", [acks_late: Some(true)], async |_ctx| Err(TaskError::reject_because("not mine", false)));
task!(Fails = "fails", [acks_late: Some(true), acks_on_failure: Some(false)], async |_ctx| {
    Err(TaskError::failure("no luck"))
});
task!(Kills = "kills", [acks_late: Some(true)], async |ctx| {
    ctx.state::<Gate>().unwrap().pass().await;
    Ok(json(1))
});

async fn app(switches: &Switches, gate: &Gate) -> TestApp {
    let builder = App::test().with(|app| app.autodiscover(false)).state(gate.clone());
    let builder = builder.driver(SwitchedDriver::new(switches)).broker(URL).backend(URL);
    builder.register::<Late>().register::<Rejects>().register::<Fails>().register::<Kills>().build().await.unwrap()
}

type Change = fn(&mut Message);

/// The message, its code, and the exception of the FAILURE that is stored; `None` where nothing is stored.
const ROWS: &[(&str, Change, &str, Option<&str>)] = &[
    ("late", |m| m.body = m.body.slice(..20), "undecodable", None),
    ("late", |m| m.properties.content_type = Some("application/odd".into()), "content-type", None),
    ("late", |m| m.headers.eta = Some("tomorrow".into()), "bad-eta", None),
    ("no.such", |_| {}, "unknown-task", Some("NotRegistered")),
    (
        "late",
        |m| m.body = r#"[[], {}, {"callbacks": [{"task": "a", "subtask_type": "odd"}]}]"#.into(),
        "follow-ups",
        Some("FollowUpError"),
    ),
    ("celery.map", |_| {}, "arguments", Some("TypeError")),
    ("kills", |_| {}, "crash-loop", Some("WorkerLostError")),
    ("rejects", |_| {}, "rejected", Some("Reject")),
    ("fails", |_| {}, "rejected", Some("TaskError")),
    ("late", |m| m.headers.argsrepr = Some("refused".into()), "rejected", Some("NotSettled")),
];

#[tokio::test]
async fn each_reason_leaves_the_task_in_the_state_of_the_documented_table() {
    let page = include_str!("../../../../../docs/PROMISES.md");
    for (number, (task, change, code, failure)) in ROWS.iter().enumerate() {
        let (switches, gate) = (Switches::default(), Gate::new());
        let app = app(&switches, &gate).await;
        let mut message = Message::default();
        message.properties.content_type = Some("application/json".into());
        (message.headers.task, message.headers.id) = (Some((*task).into()), Some("id".into()));
        message.body = r#"[[], {}, {"callbacks": null}]"#.into();
        change(&mut message);
        switches.refuse_results(message.headers.argsrepr.is_some());
        app.publisher().publish(vec![Outgoing::to_queue("celery", message)]).await.unwrap();
        if *task == "kills" {
            for _ in 0..3 {
                let worker = app.worker().concurrency(1).start().await.unwrap();
                gate.begun(1).await;
                worker.stop_as(StopKind::Now).await;
            }
        }
        let worker = app.worker().concurrency(1).start().await.unwrap();
        until("it is in the dead set", async || dead(&app).await.len() == 1).await;
        assert_eq!(dead(&app).await[0].0, *code, "row {number}");
        let shown = match failure {
            None => {
                worker.stop().await;
                assert_eq!(state(&app, "id").await, "PENDING", "row {number}");
                "PENDING".to_owned()
            }
            Some(wanted) => {
                until("the failure is stored", async || stored(&app, "id").await.is_some()).await;
                assert_eq!(
                    (state(&app, "id").await, exception(&app, "id").await.0.as_str()),
                    ("FAILURE".to_owned(), *wanted)
                );
                worker.stop().await;
                match *wanted {
                    "TaskError" => "FAILURE, with its error".to_owned(),
                    wanted => format!("FAILURE (`{wanted}`)"),
                }
            }
        };
        let is_documented = |line: &str| line.starts_with(&format!("| `{code}` |")) && line.contains(&shown);
        assert!(page.lines().any(is_documented), "docs/PROMISES.md has no row of {code} with {shown}");

        // A replay starts it anew.
        until_counts(&app, 0, 0).await;
        let key = app.broker().dead().unwrap().list(0, 1).await.unwrap()[0].key;
        assert_eq!(app.replay_dead(&[key]).await.unwrap(), 1);
        assert_eq!(state(&app, "id").await, "PENDING", "row {number}");
        assert_eq!(counts(&app, "celery").await.ready, 1);
    }
}
