//! Shutdown as an operator sees it: signals to worker processes that share a queue file.

use apium::prelude::*;
use futures_util::future::join_all;

use crate::live::{counts, value, wait_until};
use crate::program::Sandbox;

/// An app that reads the queue and the results from this process.
async fn watcher(sandbox: &Sandbox) -> App {
    let builder = App::builder("watcher").autodiscover(false).broker(sandbox.url()).backend(sandbox.url());
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
    wait_until("two tasks run", async || in_state(results, &TaskState::Started).await == 2).await;
}

#[tokio::test]
async fn sigterm_is_a_warm_shutdown() {
    let sandbox = Sandbox::new();
    let app = watcher(&sandbox).await;
    let results = send(&app, "tasks.sleep", 0.3, 8).await;
    let worker = sandbox.worker_with(&[], &[("APIUM_TASK_TRACK_STARTED", "true")]);
    until_two_run(&results).await;
    let (code, mut lines) = worker.stop("TERM");
    assert_eq!(code, 0, "{lines:#?}");
    let done = in_state(&results, &TaskState::Success).await;
    assert!((2..8).contains(&done), "running tasks have ended, and no other has started: {done} of 8\n{lines:#?}");
    assert_eq!(in_state(&results, &TaskState::Started).await, 0);
    let stats = counts(&app).await;
    assert_eq!((stats.ready, stats.unacked, stats.consumers), (8 - done as u64, 0, 0));

    let next = sandbox.worker(&[]);
    for result in &results {
        value(result).await;
    }
    let (code, more) = next.stop("TERM");
    assert_eq!(code, 0);
    lines.extend(more);
    let ends = lines.iter().filter(|line| line.contains("succeeded in")).count();
    assert_eq!(ends, 8, "no task is lost, and none ran twice:\n{lines:#?}");
}

#[tokio::test]
async fn sigquit_is_a_cold_shutdown() {
    for (task, requeued, state) in [("tasks.late_sleep", 2, TaskState::Started), ("tasks.sleep", 0, TaskState::Revoked)]
    {
        let sandbox = Sandbox::new();
        let app = watcher(&sandbox).await;
        let results = send(&app, task, 3600.0, 2).await;
        let worker = sandbox.worker_with(&[], &[("APIUM_TASK_TRACK_STARTED", "true")]);
        until_two_run(&results).await;
        let (code, lines) = worker.stop("QUIT");
        assert_eq!(code, 0, "{lines:#?}");
        let stats = counts(&app).await;
        assert_eq!((stats.ready, stats.unacked), (requeued, 0), "{task}");
        assert_eq!(in_state(&results, &state).await, 2, "{task}");
    }
}
