//! Stores that are away or refuse: what needs another store goes on, and nothing is stuck.

use apium_app::app::app::App;
use apium_transport::health::Health;
use apium_worker::builder::AppWorker as _;
use apium_worker::handle::WorkerHandle;
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::AppTest as _;

use crate::rig::{Notes, counts, dead, json, send, state, until, until_counts, until_state};
use crate::switched_driver::{OWN_URL, SwitchedDriver, Switches, URL};
use crate::task;

task!(Own = "own", [acks_late: Some(true), backend: Some(OWN_URL.into())], async |_ctx| Ok(json("own")));
task!(Late = "late", [acks_late: Some(true)], async |_ctx| Ok(json("late")));
task!(Early = "early", [], async |_ctx| Ok(json("early")));
task!(Ignored = "ignored", [acks_late: Some(true), ignore_result: Some(true)], async |ctx| {
    ctx.state::<Notes>().unwrap().add("ran");
    Ok(json(1))
});

async fn app(switches: &Switches, notes: &Notes) -> TestApp {
    let builder = App::test().with(|app| app.autodiscover(false)).state(notes.clone());
    let builder = builder.driver(SwitchedDriver::new(switches)).broker(URL).backend(URL);
    builder.register::<Own>().register::<Late>().register::<Early>().register::<Ignored>().build().await.unwrap()
}

fn reason(worker: &WorkerHandle) -> String {
    match worker.health() {
        Health::Green => String::new(),
        Health::Red { reason, .. } => reason,
    }
}

async fn own_state(app: &App, id: &str) -> String {
    let documents = app.backend_of("own").unwrap().stored().unwrap().fetch(&[id.into()]).await.unwrap();
    documents[0].as_ref().map_or_else(|| "PENDING".to_owned(), |document| document.state.to_string())
}

#[tokio::test]
async fn a_result_backend_that_is_away_stalls_only_its_own_tasks() {
    let (switches, notes) = (Switches::default(), Notes::default());
    let app = app(&switches, &notes).await;
    switches.cut_own_results(true);
    send(&app, "own", "o").await;
    for n in 0..5 {
        send(&app, "late", &format!("l{n}")).await;
    }
    let worker = app.worker().concurrency(1).start().await.unwrap();
    for n in 0..5 {
        until_state(&app, &format!("l{n}"), "SUCCESS").await;
    }
    until_counts(&app, 0, 1).await;
    switches.cut_own_results(false);
    until_counts(&app, 0, 0).await;
    assert_eq!(own_state(&app, "o").await, "SUCCESS");
    worker.stop().await;
}

#[tokio::test]
async fn what_stores_no_result_is_settled_while_the_apps_backend_is_away() {
    let (switches, notes) = (Switches::default(), Notes::default());
    switches.two_stores();
    let app = app(&switches, &notes).await;
    switches.cut_results(true);
    send(&app, "late", "l").await;
    for n in 0..3 {
        send(&app, "ignored", &format!("i{n}")).await;
    }
    send(&app, "early", "e").await;
    let worker = app.worker().concurrency(1).start().await.unwrap();
    until("they ran", async || notes.all().len() == 3).await;
    until_counts(&app, 0, 1).await;
    switches.cut_results(false);
    until_state(&app, "l", "SUCCESS").await;
    until_state(&app, "e", "SUCCESS").await;
    until_counts(&app, 0, 0).await;
    worker.stop().await;
}

#[tokio::test]
async fn what_a_store_refuses_is_settled_when_it_takes_it_again_and_the_worker_is_unhealthy_meanwhile() {
    let (switches, notes) = (Switches::default(), Notes::default());
    let app = app(&switches, &notes).await;
    switches.refuse_acks(true);
    for n in 0..4 {
        send(&app, "late", &format!("l{n}")).await;
    }
    let worker = app.worker().concurrency(2).start().await.unwrap();
    until("the worker says so", async || reason(&worker).starts_with("4 tasks that ended cannot be settled")).await;
    assert!(reason(&worker).contains("no space is left"), "{}", reason(&worker));
    assert_eq!(counts(&app, "celery").await.unacked, 4, "nothing is lost");
    switches.refuse_acks(false);
    until_counts(&app, 0, 0).await;
    for n in 0..4 {
        until_state(&app, &format!("l{n}"), "SUCCESS").await;
    }
    until("the worker is healthy", async || worker.health().is_green()).await;
    // The prefetch is what it was: more than it run.
    for n in 0..20 {
        send(&app, "late", &format!("m{n}")).await;
    }
    until_state(&app, "m19", "SUCCESS").await;
    assert_eq!(worker.stop().await.unsettled, 0);
    assert_eq!(dead(&app).await, []);
}

#[tokio::test]
async fn a_run_whose_early_ack_is_refused_does_not_begin_and_goes_back() {
    let (switches, notes) = (Switches::default(), Notes::default());
    let app = app(&switches, &notes).await;
    switches.refuse_acks(true);
    send(&app, "early", "e").await;
    let worker = app.worker().concurrency(1).start().await.unwrap();
    until("the worker says so", async || reason(&worker).contains("cannot be settled")).await;
    assert_eq!(state(&app, "e").await, "PENDING");
    switches.refuse_acks(false);
    until_state(&app, "e", "SUCCESS").await;
    until("the worker is healthy", async || worker.health().is_green()).await;
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_names_what_a_store_refuses() {
    let (switches, notes) = (Switches::default(), Notes::default());
    let app = app(&switches, &notes).await;
    switches.refuse_acks(true);
    send(&app, "late", "l").await;
    let worker = app.worker().concurrency(1).start().await.unwrap();
    until("the worker says so", async || reason(&worker).contains("cannot be settled")).await;
    let report = worker.stop().await;
    assert_eq!(report.unsettled_tasks, ["late[l]"]);
}
