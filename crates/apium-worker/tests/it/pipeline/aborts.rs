//! Tasks that are aborted before they run.

use apium_app::app::app::App;
use apium_app::canvas::node::Node;
use apium_app::canvas::send::send as send_canvas;
use apium_app::context::context::{ABORTED, Ctx};
use apium_app::task_error::TaskResult;
use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::AppTest as _;

use crate::rig::{Notes, counts, dead, json, send, state};
use crate::task;

task!(Plain = "plain", [], async |ctx| {
    ctx.state::<Notes>().unwrap().add("plain");
    Ok(json(ctx.aborted().await.unwrap()))
});
task!(Early = "early", [abortable: Some(true)], async |ctx| add(&ctx, "early"));
task!(Late = "late", [abortable: Some(true), acks_late: Some(true)], async |ctx| add(&ctx, "late"));
task!(TrackedEarly = "tracked_early", [track_started: Some(true)], async |ctx| add(&ctx, "tracked_early"));
task!(TrackedLate = "tracked_late", [track_started: Some(true), acks_late: Some(true)], async |ctx| {
    add(&ctx, "tracked_late")
});
task!(Body = "body", [], async |ctx| add(&ctx, "body"));
task!(Progress = "progress", [], async |ctx| {
    ctx.update_state(ABORTED, Json::NULL).await.unwrap();
    ctx.update_state("PROGRESS", 1).await.unwrap();
    ctx.state::<Notes>().unwrap().add(format!("aborted: {}", ctx.aborted().await.unwrap()));
    ctx.check()?;
    Ok(json(1))
});

fn add(ctx: &Ctx, name: &str) -> TaskResult<Json> {
    ctx.state::<Notes>().unwrap().add(name);
    Ok(json(1))
}

const ABORTABLE: [&str; 4] = ["early", "late", "tracked_early", "tracked_late"];

async fn app(notes: &Notes) -> TestApp {
    let builder = App::test().with(|app| app.autodiscover(false)).state(notes.clone());
    let builder = builder.register::<Plain>().register::<Early>().register::<Late>();
    let builder = builder.register::<TrackedEarly>().register::<TrackedLate>().register::<Body>();
    builder.register::<Progress>().build().await.unwrap()
}

async fn abort(app: &App, id: &str) {
    app.result::<Json>(id).abort().await.unwrap();
}

#[tokio::test]
async fn a_task_that_is_aborted_before_its_start_does_not_run_and_stays_aborted() {
    let notes = Notes::default();
    let app = app(&notes).await;
    for task in ABORTABLE {
        send(&app, task, task).await;
        send(&app, task, &format!("{task} too")).await;
        abort(&app, task).await;
    }
    app.drain().await;
    assert_eq!(notes.all(), ABORTABLE, "those that were not aborted run");
    for task in ABORTABLE {
        assert_eq!(state(&app, task).await, "ABORTED", "{task}");
        assert_eq!(state(&app, &format!("{task} too")).await, "SUCCESS", "{task}");
    }
    let left = counts(&app, "celery").await;
    assert_eq!((left.ready, left.unacked, dead(&app).await.len()), (0, 0, 0));
}

#[tokio::test]
async fn a_task_that_does_not_declare_itself_abortable_runs_and_can_read_the_abort() {
    let notes = Notes::default();
    let app = app(&notes).await;
    send(&app, "plain", "id").await;
    abort(&app, "id").await;
    app.drain().await;
    assert_eq!((notes.all(), state(&app, "id").await), (vec!["plain".to_owned()], "SUCCESS".to_owned()));
}

#[tokio::test]
async fn an_aborted_part_ends_its_chord() {
    for task in ABORTABLE {
        let notes = Notes::default();
        let app = app(&notes).await;
        let node = |name: &str, id: &str| {
            let mut signature = WireSignature::new(name);
            signature.options.insert("task_id".into(), json(id));
            Node::from_wire(&signature).unwrap()
        };
        let chord = Node::chord([node(task, "a"), node(task, "b")], node("body", "body"));
        send_canvas(&app, chord).await.unwrap();
        abort(&app, "a").await;
        app.drain().await;
        assert_eq!(notes.all(), [task], "the other part runs, and the body does not");
        let states = (state(&app, "a").await, state(&app, "b").await, state(&app, "body").await);
        assert_eq!(states, ("ABORTED".into(), "SUCCESS".into(), "FAILURE".into()));
    }
}

#[tokio::test]
async fn the_progress_of_a_task_does_not_hide_its_abort() {
    let notes = Notes::default();
    let app = app(&notes).await;
    send(&app, "progress", "id").await;
    app.drain().await;
    assert_eq!(notes.all(), ["aborted: true"]);
    assert_eq!(state(&app, "id").await, "ABORTED");
}
