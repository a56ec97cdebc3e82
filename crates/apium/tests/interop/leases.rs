//! Killed workers, and tasks that run for longer than the visibility timeout, with workers of both sides.

use std::time::{Duration, Instant};

use apium_peers::namespace::Database;
use apium_peers::redis::Commands;
use apium_peers::redis_server::fresh_database;
use serde_json::{Value, json};

use crate::kit::run_log::RunLog;
use crate::kit::rust_client;
use crate::kit::side::Side;
use crate::kit::worker::Setup;

/// A short visibility timeout: Celery requeues messages that have been unacknowledged for `seconds`, and looks for them
/// several times a second.
fn short_visibility(url: &str, seconds: f64) -> Setup {
    let options =
        json!({ "visibility_timeout": seconds, "unacked_restore_interval": 0.2, "unacked_restore_throttle": 1 });
    Setup::new(url).set("broker_transport_options", options)
}

fn named(setup: Setup, side: Side) -> Setup {
    match side {
        Side::Rust => setup.named("rust@peer").set("worker_lease", json!(1)),
        Side::Python => setup.named("python@peer"),
    }
}

fn host(side: Side) -> &'static str {
    if side == Side::Rust { "rust@peer" } else { "python@peer" }
}

/// Kills a worker of one side while it runs two tasks and has prefetched four. A worker of the other side runs all six.
async fn kill_and_finish_on_the_other_side(victim: Side) {
    let database = fresh_database();
    let setup = short_visibility(&database.url, 2.0).set("worker_prefetch_multiplier", json!(4));
    let app = rust_client::app(&database.url, &vec![]).await;
    let run_log = RunLog::new();
    let mut worker = named(setup.clone(), victim).start(victim);
    for n in 0..6 {
        let args = json!([run_log.path(), format!("w{n}"), 1.5]);
        rust_client::send(&app, "tasks.log_run", &args, &json!({}), &json!({})).await;
    }
    run_log.wait_for("begin", 2, &[&worker]).await;
    // Celery loses messages that it has popped and not yet written to `unacked`, so it is killed when it has written
    // all.
    let mut connection = database.connection();
    let mut interval = tokio::time::interval(Duration::from_millis(5));
    let claimed = async {
        while connection.hlen::<_, usize>("unacked").unwrap() < 6 {
            interval.tick().await;
        }
    };
    tokio::time::timeout(rust_client::PATIENCE, claimed).await.expect("all six are claimed");
    worker.kill();
    let ends = run_log.done("end");
    assert!(ends.is_empty(), "{ends:?}");

    let other = named(setup, victim.other()).start(victim.other());
    let done = run_log.wait_for("end", 6, &[&other]).await;
    for (word, workers) in &done {
        assert_eq!(workers, &[host(victim.other())], "{word}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn tasks_of_a_killed_python_worker_are_finished_by_rust() {
    kill_and_finish_on_the_other_side(Side::Python).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn tasks_of_a_killed_rust_worker_are_finished_by_python() {
    kill_and_finish_on_the_other_side(Side::Rust).await;
}

/// `run-once`: with workers of Celery alone this task would run several times.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_long_task_of_rust_runs_once_while_python_sweeps() {
    let database = fresh_database();
    let visibility = 1.0;
    let run_log = RunLog::new();
    let setup = short_visibility(&database.url, visibility);
    let rust_worker = named(setup.clone(), Side::Rust).start(Side::Rust);
    let python = named(setup, Side::Python).queues("python").start(Side::Python);
    let app = rust_client::app(&database.url, &vec![]).await;
    let sent = Instant::now();
    let id = rust_client::send(
        &app,
        "tasks.log_run",
        &json!([run_log.path(), "long", 5.0 * visibility]),
        &json!({}),
        &json!({}),
    )
    .await;

    // A message of a dead worker shows that Python sweeps: it is requeued long before the task ends.
    let stale = insert_stale(&database, &run_log);
    run_log.wait_for("end", 1, &[&python]).await;
    assert!(sent.elapsed() < Duration::from_secs(4), "Python swept {stale}");

    assert_eq!(rust_client::get(&app, &id).await.success(), "long");
    assert!(sent.elapsed() >= Duration::from_secs_f64(5.0 * visibility));
    let began = run_log.done("begin");
    assert_eq!(began["long"], ["rust@peer"], "once\n{}", rust_worker.log());
}

/// Inserts a message of the queue `python` as a dead worker leaves it: claimed and not acknowledged.
fn insert_stale(database: &Database, run_log: &RunLog) -> String {
    let mut connection = database.connection();
    let body = apium::message::base64::encode(
        json!([[run_log.path(), "stale"], {}, { "callbacks": null, "errbacks": null, "chain": null, "chord": null }])
            .to_string()
            .as_bytes(),
    );
    let tag = "a-stale-tag";
    let envelope: Value = json!({
        "body": body, "content-type": "application/json", "content-encoding": "utf-8",
        "headers": { "task": "tasks.log_run", "id": "stale", "lang": "py" },
        "properties": {
            "delivery_tag": tag, "delivery_mode": 2, "body_encoding": "base64", "priority": 0, "correlation_id": "stale",
            "delivery_info": { "exchange": "", "routing_key": "python" },
        },
    });
    let entry = json!([envelope, "", "python"]).to_string();
    let () = connection.hset("unacked", tag, entry).unwrap();
    let () = connection.zadd("unacked_index", tag, 1.0).unwrap();
    tag.to_owned()
}
