//! Workers that are killed, and tasks that run longer than the visibility timeout, in a fleet of both kinds.

use std::time::{Duration, Instant};

use apium_peers::database::Database;
use apium_peers::redis::Commands;
use apium_peers::redis_server::fresh_database;
use serde_json::{Value, json};

use crate::notes::Notes;
use crate::rust;
use crate::side::Side;
use crate::worker::Setup;

/// Celery gives back what nobody has acknowledged for so many seconds, and looks for it several times a second.
fn short_sighted(url: &str, seconds: f64) -> Setup {
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

/// A worker of one kind is killed while it runs two tasks and holds four; one of the other kind does all six.
async fn killed_and_finished_by_the_other(victim: Side) {
    let database = fresh_database();
    let setup = short_sighted(&database.url, 2.0);
    let app = rust::app(&database.url, &vec![]).await;
    let notes = Notes::new();
    let mut worker = named(setup.clone(), victim).start(victim);
    for n in 0..6 {
        let args = json!([notes.path(), format!("w{n}"), 1.5]);
        rust::send(&app, "tasks.note", &args, &json!({}), &json!({})).await;
    }
    notes.wait_for("begin", 2, &[&worker]).await;
    // Celery loses what it has taken and not yet noted, so it is killed when it has noted everything.
    let mut connection = database.connection();
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    let taken = async {
        while connection.hlen::<_, usize>("unacked").unwrap() < 6 {
            looks.tick().await;
        }
    };
    tokio::time::timeout(rust::PATIENCE, taken).await.expect("all six are taken");
    worker.kill();
    let ended = notes.done("end");
    assert!(ended.is_empty(), "{ended:?}");

    let heir = named(setup, victim.other()).start(victim.other());
    let done = notes.wait_for("end", 6, &[&heir]).await;
    for (word, workers) in &done {
        assert_eq!(workers, &[host(victim.other())], "{word}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn tasks_of_a_killed_python_worker_are_finished_by_rust() {
    killed_and_finished_by_the_other(Side::Python).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn tasks_of_a_killed_rust_worker_are_finished_by_python() {
    killed_and_finished_by_the_other(Side::Rust).await;
}

/// P2: in a fleet of Celery alone this task would run several times.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_long_task_of_rust_runs_once_while_python_sweeps() {
    let database = fresh_database();
    let visibility = 1.0;
    let notes = Notes::new();
    let setup = short_sighted(&database.url, visibility);
    let rust_worker = named(setup.clone(), Side::Rust).start(Side::Rust);
    let python = named(setup, Side::Python).queues("python").start(Side::Python);
    let app = rust::app(&database.url, &vec![]).await;
    let sent = Instant::now();
    let id =
        rust::send(&app, "tasks.note", &json!([notes.path(), "long", 5.0 * visibility]), &json!({}), &json!({})).await;

    // Somebody else's tag that nobody renews shows that Python sweeps: it is put back long before the task ends.
    let stale = planted(&database, &notes);
    notes.wait_for("end", 1, &[&python]).await;
    assert!(sent.elapsed() < Duration::from_secs(4), "Python swept {stale}");

    assert_eq!(rust::get(&app, &id).await.success(), "long");
    assert!(sent.elapsed() >= Duration::from_secs_f64(5.0 * visibility));
    let began = notes.done("begin");
    assert_eq!(began["long"], ["rust@peer"], "once\n{}", rust_worker.log());
}

/// A message of the queue `python` as a worker leaves it that died: taken, and not acknowledged.
fn planted(database: &Database, notes: &Notes) -> String {
    let mut connection = database.connection();
    let body = apium::message::base64::encode(
        json!([[notes.path(), "stale"], {}, { "callbacks": null, "errbacks": null, "chain": null, "chord": null }])
            .to_string()
            .as_bytes(),
    );
    let tag = "a-stale-tag";
    let envelope: Value = json!({
        "body": body, "content-type": "application/json", "content-encoding": "utf-8",
        "headers": { "task": "tasks.note", "id": "stale", "lang": "py" },
        "properties": {
            "delivery_tag": tag, "delivery_mode": 2, "body_encoding": "base64", "priority": 0, "correlation_id": "stale",
            "delivery_info": { "exchange": "", "routing_key": "python" },
        },
    });
    let taken = json!([envelope, "", "python"]).to_string();
    let () = connection.hset("unacked", tag, taken).unwrap();
    let () = connection.zadd("unacked_index", tag, 1.0).unwrap();
    tag.to_owned()
}
