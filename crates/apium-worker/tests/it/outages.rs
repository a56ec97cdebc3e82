//! A broker or a store that is away while a task uses it: that never fails the task.

use std::time::Duration;

use apium_app::app::app::App;
use apium_app::canvas::node::Node;
use apium_app::canvas::send::send as send_workflow;
use apium_app::context::context::Ctx;
use apium_app::result::group_result::GroupResult;
use apium_app::task_error::{TaskError, TaskResult};
use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::result::state::State;
use apium_transport::error::ErrorKind;
use apium_worker::builder::AppWorker as _;
use apium_worker::shutdown::kind::StopKind;
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::AppTest as _;

use crate::rig::{Gate, Notes, counts, dead, exception, json, send, state, until, until_state};
use crate::switched_driver::{SwitchedDriver, Switches, URL};
use crate::task;

async fn app(switches: &Switches, gate: &Gate, notes: &Notes) -> TestApp {
    let builder = App::test().with(|app| app.autodiscover(false)).state(gate.clone()).state(notes.clone());
    let builder = builder.driver(SwitchedDriver::new(switches)).broker(URL).backend(URL);
    let builder = builder.register::<Progress>().register::<Final>().register::<Late>().register::<Early>();
    let builder = builder.register::<Bounded>().register::<BoundedInTime>().register::<BoundedLate>();
    let builder = builder.register::<RetriesByHand>().register::<Retries>().register::<Child>();
    let builder = builder.register::<Adds>().register::<AddsShortly>().register::<Body>();
    let builder = builder.register::<LateChecks>().register::<EarlyChecks>();
    builder.register::<EarlyAsks>().register::<LateAsks>().build().await.unwrap()
}

task!(Progress = "progress", [acks_late: Some(true)], async |ctx| {
    for done in 0..3 {
        ctx.update_state("PROGRESS", serde_json::json!({ "done": done })).await?;
    }
    ctx.state::<Gate>().unwrap().pass().await;
    Ok(json(1))
});

#[tokio::test]
async fn a_state_of_progress_that_cannot_be_stored_is_dropped_and_the_task_goes_on() {
    let (switches, gate, notes) = (Switches::default(), Gate::new(), Notes::default());
    let app = app(&switches, &gate, &notes).await;
    send(&app, "progress", "p").await;
    switches.cut_results(true);
    let worker = app.worker().concurrency(1).start().await.unwrap();
    // It gets here although none of its states was stored.
    gate.begun(1).await;
    switches.cut_results(false);
    assert_eq!(state(&app, "p").await, "PENDING");
    gate.open(1);
    until_state(&app, "p", "SUCCESS").await;
    assert_eq!(worker.stop().await.finished, 1, "it ran once");
}

task!(LateChecks = "late_checks", [acks_late: Some(true)], fn |ctx| checks(&ctx));
task!(EarlyChecks = "early_checks", [], fn |ctx| checks(&ctx));

fn checks(ctx: &Ctx) -> TaskResult<Json> {
    ctx.check()?;
    ctx.state::<Notes>().unwrap().add("checked");
    Ok(json(1))
}

#[tokio::test]
async fn a_plain_function_does_not_wait_for_its_store_to_learn_whether_it_was_aborted() {
    let (switches, gate, notes) = (Switches::default(), Gate::new(), Notes::default());
    let app = app(&switches, &gate, &notes).await;
    send(&app, "late_checks", "l").await;
    send(&app, "early_checks", "e").await;
    switches.hang_reads(true);
    let worker = app.worker().concurrency(1).start().await.unwrap();
    until("both went on", async || notes.all().len() == 2).await;
    switches.hang_reads(false);
    until_state(&app, "l", "SUCCESS").await;
    until_state(&app, "e", "SUCCESS").await;
    assert_eq!(worker.stop().await.finished, 2);
}

task!(Final = "final", [acks_late: Some(true)], async |ctx| {
    ctx.state::<Notes>().unwrap().add("began");
    ctx.update_state("FAILURE", serde_json::json!({ "exc_type": "Own", "exc_message": ["by hand"] })).await?;
    Err(TaskError::ignore())
});

#[tokio::test]
async fn a_ready_state_is_not_dropped_and_its_task_goes_back_meanwhile() {
    let (switches, gate, notes) = (Switches::default(), Gate::new(), Notes::default());
    let app = app(&switches, &gate, &notes).await;
    send(&app, "final", "f").await;
    switches.cut_results(true);
    let worker = app.worker().concurrency(1).start().await.unwrap();
    until("it began again", async || notes.all().len() >= 2).await;
    switches.cut_results(false);
    until_state(&app, "f", "FAILURE").await;
    until("its message is gone", async || counts(&app, "celery").await.unacked == 0).await;
    assert_eq!(dead(&app).await, []);
    worker.stop().await;
}

task!(Child = "child", [], async |_ctx| Ok(json("child")));
task!(Late = "late", [acks_late: Some(true)], async |ctx| call_child(&ctx).await);
task!(Early = "early", [], async |ctx| call_child(&ctx).await);
task!(Bounded = "bounded", [], async |ctx| {
    ctx.state::<Notes>().unwrap().add("began");
    child().call().retry(false).await?;
    Ok(json(1))
});

task!(BoundedInTime = "bounded_in_time", [], async |ctx| {
    ctx.state::<Notes>().unwrap().add("began");
    child().call().publish_timeout(Duration::from_millis(50)).await?;
    Ok(json(1))
});
task!(BoundedLate = "bounded_late", [acks_late: Some(true)], async |ctx| {
    ctx.state::<Notes>().unwrap().add("began");
    child().call().retry(false).await?;
    Ok(json(1))
});
// It counts the outage itself.
task!(RetriesByHand = "retries_by_hand", [acks_late: Some(true), max_retries: Some(Some(1))], async |ctx| {
    ctx.state::<Notes>().unwrap().add("began");
    match child().call().retry(false).await {
        Ok(_) => Ok(json(1)),
        Err(error) => Err(ctx.retry().countdown(Duration::ZERO).cause(error).into()),
    }
});

fn child() -> apium_app::signature::signature::Signature<(), Json> {
    use apium_app::signature::signature::Signature;
    use apium_app::task::definition::TaskType as _;
    Signature::of_def(Child::def(), Ok(apium_app::task::arguments::Arguments::default()))
}

async fn call_child(ctx: &Ctx) -> TaskResult<Json> {
    ctx.state::<Notes>().unwrap().add("began");
    child().call().task_id("child").await?;
    Ok(json(1))
}

#[tokio::test]
async fn a_late_ack_task_whose_call_finds_no_broker_goes_back_to_its_queue() {
    let (switches, gate, notes) = (Switches::default(), Gate::new(), Notes::default());
    let app = app(&switches, &gate, &notes).await;
    send(&app, "late", "l").await;
    switches.cut_publish(true);
    let worker = app.worker().concurrency(1).start().await.unwrap();
    until("it began again", async || notes.all().len() >= 2).await;
    assert_eq!(state(&app, "l").await, "PENDING", "nothing is stored for the run that was cut short");
    switches.cut_publish(false);
    until_state(&app, "l", "SUCCESS").await;
    until_state(&app, "child", "SUCCESS").await;
    let report = worker.stop().await;
    assert_eq!((report.finished, report.unsettled), (2, 0), "the runs that went back do not count");
    assert_eq!(dead(&app).await, []);
}

#[tokio::test]
async fn an_early_ack_task_waits_for_its_broker_and_runs_once() {
    let (switches, gate, notes) = (Switches::default(), Gate::new(), Notes::default());
    let app = app(&switches, &gate, &notes).await;
    send(&app, "early", "e").await;
    switches.cut_publish(true);
    let worker = app.worker().concurrency(1).start().await.unwrap();
    until("it began", async || notes.all().len() == 1).await;
    // More tries than any other call makes.
    until("it is tried again and again", async || app.sent_by_name("child").len() >= 6).await;
    assert_eq!(state(&app, "e").await, "PENDING");
    switches.cut_publish(false);
    until_state(&app, "child", "SUCCESS").await;
    until_state(&app, "e", "SUCCESS").await;
    worker.stop().await;
    assert_eq!(notes.all(), ["began"], "its message was acked before, so it runs once");
}

#[tokio::test]
async fn a_call_that_says_itself_how_long_it_waits_is_the_tasks_own_affair() {
    let (switches, gate, notes) = (Switches::default(), Gate::new(), Notes::default());
    let app = app(&switches, &gate, &notes).await;
    for task in ["bounded", "bounded_in_time", "retries_by_hand"] {
        send(&app, task, task).await;
    }
    switches.cut_publish(true);
    let worker = app.worker().concurrency(1).start().await.unwrap();
    for task in ["bounded", "bounded_in_time", "retries_by_hand"] {
        until_state(&app, task, "FAILURE").await;
    }
    worker.stop().await;
    assert_eq!(notes.all().len(), 4, "each ran once, and the one that retries twice");
}

#[tokio::test]
async fn a_late_ack_task_goes_back_also_where_its_call_says_how_long_it_waits() {
    let (switches, gate, notes) = (Switches::default(), Gate::new(), Notes::default());
    let app = app(&switches, &gate, &notes).await;
    send(&app, "bounded_late", "b").await;
    switches.cut_publish(true);
    let worker = app.worker().concurrency(1).start().await.unwrap();
    until("it began again", async || notes.all().len() >= 2).await;
    assert_eq!(state(&app, "b").await, "PENDING");
    switches.cut_publish(false);
    until_state(&app, "b", "SUCCESS").await;
    worker.stop().await;
}

task!(Retries = "retries", [acks_late: Some(true)], async |ctx| {
    ctx.state::<Notes>().unwrap().add("began");
    if ctx.retries() == 0 {
        ctx.retry().countdown(Duration::ZERO).send().await?;
        return Err(TaskError::ignore());
    }
    Ok(json(1))
});

#[tokio::test]
async fn a_retry_that_finds_no_broker_does_not_reject_its_task() {
    let (switches, gate, notes) = (Switches::default(), Gate::new(), Notes::default());
    let app = app(&switches, &gate, &notes).await;
    send(&app, "retries", "r").await;
    switches.cut_publish(true);
    let worker = app.worker().concurrency(1).start().await.unwrap();
    until("it began again", async || notes.all().len() >= 2).await;
    switches.cut_publish(false);
    until_state(&app, "r", "SUCCESS").await;
    worker.stop().await;
    assert_eq!(dead(&app).await, []);
}

fn node(task: &str) -> Node {
    Node::from_wire(&WireSignature::new(task)).unwrap()
}

task!(Adds = "adds", [acks_late: Some(true)], async |ctx| {
    ctx.state::<Notes>().unwrap().add("began");
    ctx.add_to_chord(node("child")).await?;
    Ok(json("adds"))
});
task!(Body = "body", [], async |ctx| {
    ctx.state::<Notes>().unwrap().add(ctx.request().args_json().as_str());
    Ok(json(1))
});

#[tokio::test]
async fn a_task_that_adds_to_its_chord_waits_for_its_broker_so_that_the_chord_does_not_wait_for_ever() {
    let (switches, gate, notes) = (Switches::default(), Gate::new(), Notes::default());
    let app = app(&switches, &gate, &notes).await;
    let body = send_workflow(&app, Node::chord([node("adds"), node("child")], node("body"))).await.unwrap();
    switches.cut_publish(true);
    let worker = app.worker().concurrency(1).start().await.unwrap();
    // The one of the header, and more tries than one call makes.
    until("it is tried again and again", async || app.sent_by_name("child").len() >= 7).await;
    switches.cut_publish(false);
    until_state(&app, body.id.as_str(), "SUCCESS").await;
    worker.stop().await;
    let notes = notes.all();
    assert_eq!((notes.len(), notes[0].as_str()), (2, "began"), "each ran once: {notes:?}");
    assert_eq!(notes[1].matches("child").count(), 2, "{notes:?}");
}

#[tokio::test]
async fn a_part_that_is_added_again_after_its_worker_died_counts_once() {
    let (switches, gate, notes) = (Switches::default(), Gate::new(), Notes::default());
    let app = app(&switches, &gate, &notes).await;
    let body = send_workflow(&app, Node::chord([node("adds"), node("child")], node("body"))).await.unwrap();
    switches.cut_publish(true);
    let worker = app.worker().concurrency(1).start().await.unwrap();
    // The chord has grown, and what it waits for is not sent.
    until("it tries to send", async || app.sent_by_name("child").len() >= 2).await;
    worker.stop_as(StopKind::Now).await;
    switches.cut_publish(false);
    let worker = app.worker().concurrency(1).start().await.unwrap();
    until_state(&app, body.id.as_str(), "SUCCESS").await;
    worker.stop().await;
    let notes = notes.all();
    assert_eq!((notes.len(), notes[1].as_str()), (3, "began"), "it ran again: {notes:?}");
    assert_eq!(notes[2].matches("child").count(), 2, "one of the header, and one that was added: {notes:?}");
    let added: Vec<_> = app.sent_by_name("child").iter().map(|sent| sent.message.headers.id.clone()).collect();
    assert!(added[1..].windows(2).all(|pair| pair[0] == pair[1]), "it has the same id each time: {added:?}");
}

task!(AddsShortly = "adds_shortly", [acks_late: Some(true), time_limit: Some(Duration::from_secs(2))], async |ctx| {
    ctx.add_to_chord(node("child")).await?;
    Ok(json("adds"))
});

#[tokio::test]
async fn a_part_that_was_added_and_not_sent_fails_its_chord_when_the_run_is_cut() {
    let (switches, gate, notes) = (Switches::default(), Gate::new(), Notes::default());
    let app = app(&switches, &gate, &notes).await;
    let body = send_workflow(&app, Node::chord([node("adds_shortly"), node("child")], node("body"))).await.unwrap();
    switches.cut_publish(true);
    let worker = app.worker().concurrency(1).start().await.unwrap();
    until("it tries to send", async || app.sent_by_name("child").len() >= 2).await;
    app.clock().advance(Duration::from_secs(2));
    // The broker is still away: what was added will never run.
    until_state(&app, body.id.as_str(), "FAILURE").await;
    worker.stop().await;
    assert_eq!(exception(&app, body.id.as_str()).await.0, "ChordError");
}

task!(EarlyAsks = "early_asks", [], async |ctx| ask(&ctx).await);
task!(LateAsks = "late_asks", [acks_late: Some(true)], async |ctx| ask(&ctx).await);

/// What a task may ask of its result backend.
const ASKS: [&str; 8] = ["open a chord", "state", "get", "abort", "forget", "save", "restore", "progress"];

/// Asks what its id says.
async fn ask(ctx: &Ctx) -> TaskResult<Json> {
    let app = App::current()?;
    let id = ctx.request().id().unwrap().to_string();
    ctx.state::<Notes>().unwrap().add(&id);
    ctx.state::<Gate>().unwrap().pass().await;
    let ready = || app.result::<Json>("ready");
    let group = || GroupResult::new(&app, "group", vec![ready()]);
    match &*id {
        "open a chord" => drop(send_workflow(&app, Node::chord([node("child"), node("child")], node("child"))).await?),
        "state" => assert_eq!(ready().state().await?, State::Success),
        "get" => drop(ready().get().allow_in_task().await?),
        "abort" => app.result::<Json>("aborted").abort().await?,
        "forget" => app.result::<Json>("forgotten").forget().await?,
        "save" => group().save().await?,
        "restore" => drop(app.restore::<Json>("group").await?),
        "progress" => drop(group().progress().await?),
        other => panic!("{other}"),
    }
    Ok(json(1))
}

/// Cuts the backend off while a task asks each thing of it, and mends it when `enough` says so.
async fn asks_in_an_outage(task: &str, enough: impl AsyncFn(&Switches, &Notes)) -> Vec<String> {
    let (switches, gate, notes) = (Switches::default(), Gate::new(), Notes::default());
    let app = app(&switches, &gate, &notes).await;
    send(&app, "child", "ready").await;
    let worker = app.worker().concurrency(ASKS.len()).start().await.unwrap();
    until_state(&app, "ready", "SUCCESS").await;
    for id in ASKS {
        send(&app, task, id).await;
    }
    gate.begun(ASKS.len() as u32).await;
    switches.cut_backend(true);
    gate.open(ASKS.len() * 100);
    enough(&switches, &notes).await;
    switches.cut_backend(false);
    for id in ASKS {
        until_state(&app, id, "SUCCESS").await;
    }
    worker.stop().await;
    assert_eq!(dead(&app).await, []);
    notes.all()
}

#[tokio::test]
async fn an_early_ack_task_waits_for_its_store_whatever_it_asks_of_it() {
    let ran = asks_in_an_outage("early_asks", async |switches, _| {
        // More tries than a caller makes.
        until("it is asked again and again", async || switches.refused_by_backend() >= ASKS.len() * 6).await;
    });
    assert_eq!(ran.await.len(), ASKS.len(), "each ran once");
}

#[tokio::test]
async fn a_late_ack_task_goes_back_whatever_it_asks_of_a_store_that_is_away() {
    let ran = asks_in_an_outage("late_asks", async |_, notes| {
        let began_again = |id: &str| notes.all().iter().filter(|ran| *ran == id).count() >= 2;
        until("each began again", async || ASKS.iter().all(|id| began_again(id))).await;
    });
    assert!(ran.await.len() >= 2 * ASKS.len());
}

/// Runs two tasks while fetching fails with an error of this kind, and a third one afterwards. Returns how many runs
/// ended, and how many consumers were made.
async fn fetching_fails(kind: ErrorKind) -> (u64, usize) {
    let (switches, gate, notes) = (Switches::default(), Gate::new(), Notes::default());
    let app = app(&switches, &gate, &notes).await;
    send(&app, "progress", "before").await;
    let worker = app.worker().concurrency(4).prefetch_multiplier(4).start().await.unwrap();
    gate.begun(1).await;
    switches.fail_next(Some(kind));
    // With it the fetch ends that has begun.
    send(&app, "progress", "with").await;
    gate.begun(1).await;
    until("fetching fails", async || !worker.health().is_green()).await;
    switches.fail_next(None);
    until("fetching works", async || worker.health().is_green()).await;
    gate.open(100);
    send(&app, "child", "after").await;
    until_state(&app, "after", "SUCCESS").await;
    until_state(&app, "before", "SUCCESS").await;
    until_state(&app, "with", "SUCCESS").await;
    (worker.stop().await.finished, switches.prefetches().len())
}

#[tokio::test]
async fn a_fetch_that_is_refused_leaves_what_runs_with_its_consumer() {
    assert_eq!(fetching_fails(ErrorKind::Refused).await, (3, 1), "no task ran twice");
}

#[tokio::test]
async fn a_consumer_that_is_closed_is_replaced() {
    let (_, consumers) = fetching_fails(ErrorKind::Closed).await;
    assert!(consumers > 1);
}

#[tokio::test]
async fn a_worker_that_cannot_settle_is_unhealthy_until_it_can() {
    let (switches, gate, notes) = (Switches::default(), Gate::new(), Notes::default());
    let app = app(&switches, &gate, &notes).await;
    let worker = app.worker().concurrency(1).start().await.unwrap();
    until("it is healthy", async || worker.health().is_green()).await;
    switches.cut_acks(true);
    send(&app, "child", "c").await;
    until("it is unhealthy", async || !worker.health().is_green()).await;
    assert!(format!("{:?}", worker.health()).contains("the cable is out"), "{:?}", worker.health());
    switches.cut_acks(false);
    until_state(&app, "c", "SUCCESS").await;
    until("it is healthy again", async || worker.health().is_green()).await;
    worker.stop().await;
}
