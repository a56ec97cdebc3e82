//! Scenarios 6 and 7 once more, as an operator sees them: signals to the processes of workers that share a file.

use apium::prelude::*;
use futures_util::future::join_all;

use crate::live::{counts, until, value};
use crate::program::Place;

/// Watches the place's queue and results from this process.
async fn watcher(place: &Place) -> App {
    let builder = App::builder("watcher").autodiscover(false).broker(place.url()).backend(place.url());
    builder.build().await.unwrap()
}

async fn send(app: &App, task: &str, seconds: f64, count: usize) -> Vec<AsyncResult<Json>> {
    let calls = (0..count).map(|_| app.sig(task).args((seconds,)).send());
    join_all(calls).await.into_iter().map(Result::unwrap).collect()
}

async fn in_state(results: &[AsyncResult<Json>], state: &TaskState) -> usize {
    let states = join_all(results.iter().map(|result| async { result.state().await.unwrap() })).await;
    states.iter().filter(|found| *found == state).count()
}

async fn until_two_run(results: &[AsyncResult<Json>]) {
    until("two tasks run", async || in_state(results, &TaskState::Started).await == 2).await;
}

#[tokio::test]
async fn scenario_06_sigterm_is_a_warm_shutdown() {
    let place = Place::new();
    let app = watcher(&place).await;
    let results = send(&app, "tasks.sleep", 0.3, 8).await;
    let worker = place.worker_with(&[], &[("APIUM_TASK_TRACK_STARTED", "true")]);
    until_two_run(&results).await;
    let (code, mut lines) = worker.stop("TERM");
    assert_eq!(code, 0, "{lines:#?}");
    let done = in_state(&results, &TaskState::Success).await;
    assert!((2..8).contains(&done), "what ran has ended, and nothing was begun: {done} of 8\n{lines:#?}");
    assert_eq!(in_state(&results, &TaskState::Started).await, 0);
    let left = counts(&app).await;
    assert_eq!((left.ready, left.unacked, left.consumers), (8 - done as u64, 0, 0));

    let next = place.worker(&[]);
    for result in &results {
        value(result).await;
    }
    let (code, more) = next.stop("TERM");
    assert_eq!(code, 0);
    lines.extend(more);
    let ends = lines.iter().filter(|line| line.contains("succeeded in")).count();
    assert_eq!(ends, 8, "none is lost, none ran twice:\n{lines:#?}");
}

#[tokio::test]
async fn scenario_07_sigquit_is_a_cold_shutdown() {
    for (task, back, state) in [("tasks.late_sleep", 2, TaskState::Started), ("tasks.sleep", 0, TaskState::Revoked)] {
        let place = Place::new();
        let app = watcher(&place).await;
        let results = send(&app, task, 3600.0, 2).await;
        let worker = place.worker_with(&[], &[("APIUM_TASK_TRACK_STARTED", "true")]);
        until_two_run(&results).await;
        let (code, lines) = worker.stop("QUIT");
        assert_eq!(code, 0, "{lines:#?}");
        let left = counts(&app).await;
        assert_eq!((left.ready, left.unacked), (back, 0), "{task}");
        assert_eq!(in_state(&results, &state).await, 2, "{task}");
    }
}
