//! One queue with workers of both sides; and a service of the guide, whose tasks run in a worker of Celery.

use std::process::Command;
use std::time::Duration;

use apium_peers::guarded::Guarded;
use apium_peers::target::example;
use serde_json::{Value, json};

use crate::kit::deployment::Deployment;
use crate::kit::run_log::RunLog;
use crate::kit::side::Side;

/// How many tasks each side sends.
const EACH: usize = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn two_thousand_tasks_run_once_each_on_workers_of_both_sides() {
    let deployment = Deployment::start(Side::Python, |setup| setup.named("python@peer"));
    let rust = crate::kit::worker::Setup::new(&deployment.database.url).named("rust@peer").start(Side::Rust);
    let pair = deployment.pair(Side::Python).await;
    let run_log = RunLog::new();
    let args: Vec<Value> = (0..EACH).map(|n| json!([run_log.path(), format!("p{n}"), 0.001])).collect();
    let python = pair.python.ask(json!({ "do": "send_many", "task": "tasks.log_run", "args": args }));
    let calls = (0..EACH).map(|n| pair.rust.sig("tasks.log_run").args((run_log.path(), format!("r{n}"), 0.001)).send());
    let (sent, ids) = tokio::join!(python, futures_util::future::join_all(calls));

    let done = run_log.wait_for("end", 2 * EACH, &[&deployment.worker, &rust]).await;
    // A run after the last end would be the second one of its task, so the starts are counted.
    let began = run_log.done("begin");
    assert_eq!(began.len(), 2 * EACH);
    let twice: Vec<_> = began.iter().filter(|(_, workers)| workers.len() != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    for name in ["python@peer", "rust@peer"] {
        let count = done.values().flatten().filter(|worker| *worker == name).count();
        assert!(count > 0 && count < 2 * EACH, "{name} did {count}");
    }

    // Both sides read the results of both.
    assert_eq!(sent["ids"].as_array().unwrap().len(), EACH);
    for n in (0..EACH).step_by(97) {
        let (ours, theirs) = (ids[n].as_ref().unwrap().id().to_string(), sent["ids"][n].as_str().unwrap());
        assert_eq!(pair.get(&ours).await.success(), &json!(format!("r{n}")));
        assert_eq!(pair.get(theirs).await.success(), &json!(format!("p{n}")));
    }
    let queue = pair.rust.broker().queues().unwrap().counts().unwrap().stats().await.unwrap();
    assert!(queue.iter().all(|stats| stats.ready == 0), "{queue:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn retries_pass_between_workers_of_both_sides() {
    let deployment = Deployment::start(Side::Python, |setup| setup.named("python@peer"));
    let _rust = crate::kit::worker::Setup::new(&deployment.database.url).named("rust@peer").start(Side::Rust);
    let pair = deployment.pair(Side::Rust).await;
    let calls = (0..60).map(|_| pair.rust.sig("tasks.retry").args((3, 0.1)).send());
    for sent in futures_util::future::join_all(calls).await {
        let seen = pair.read(Side::Rust, sent.unwrap().id().as_str()).await;
        assert_eq!(seen.success(), &json!({ "value": "done", "retries": 3 }));
    }
}

#[test]
fn a_celery_worker_runs_what_the_service_of_the_guide_enqueues() {
    let deployment = Deployment::shared(Side::Python);
    let mut command = Command::new(example("guide_producer"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("APIUM_")) {
        command.env_remove(name);
    }
    command.env("APIUM_BROKER_URL", &deployment.broker).env("APIUM_RESULT_BACKEND", &deployment.database.url);
    let mut running = Guarded::start(&command, None).unwrap();
    let ended = running.wait(Duration::from_secs(120));
    let log = running.log().text();
    assert!(ended.is_some_and(|status| status.success()), "{log}");
    assert!(log.contains("{\"sum\":5}"), "{log}");
}
