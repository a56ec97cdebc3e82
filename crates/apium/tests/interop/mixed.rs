//! One queue, workers of both kinds.

use serde_json::{Value, json};

use crate::notes::Notes;
use crate::side::Side;
use crate::world::World;

/// How many tasks each side sends.
const EACH: usize = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn two_thousand_tasks_are_each_done_once_by_workers_of_both_kinds() {
    let world = World::start(Side::Python, |setup| setup.named("python@peer"));
    let rust = crate::worker::Setup::new(&world.database.url).named("rust@peer").start(Side::Rust);
    let lane = world.lane(Side::Python).await;
    let notes = Notes::new();
    let args: Vec<Value> = (0..EACH).map(|n| json!([notes.path(), format!("p{n}"), 0.001])).collect();
    let python = lane.python.ask(json!({ "do": "send_many", "task": "tasks.note", "args": args }));
    let calls = (0..EACH).map(|n| lane.rust.sig("tasks.note").args((notes.path(), format!("r{n}"), 0.001)).send());
    let (sent, ids) = tokio::join!(python, futures_util::future::join_all(calls));

    let done = notes.wait_for("end", 2 * EACH, &[&world.worker, &rust]).await;
    // A run that comes later than the last end would be the second of its task: so look at all that began.
    let began = notes.done("begin");
    assert_eq!(began.len(), 2 * EACH);
    let twice: Vec<_> = began.iter().filter(|(_, workers)| workers.len() != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    for name in ["python@peer", "rust@peer"] {
        let count = done.values().flatten().filter(|worker| *worker == name).count();
        assert!(count > 0 && count < 2 * EACH, "{name} did {count}");
    }

    // Everybody reads all results, whoever stored them.
    assert_eq!(sent["ids"].as_array().unwrap().len(), EACH);
    for n in (0..EACH).step_by(97) {
        let (ours, theirs) = (ids[n].as_ref().unwrap().id().to_string(), sent["ids"][n].as_str().unwrap());
        assert_eq!(lane.get(&ours).await.success(), &json!(format!("r{n}")));
        assert_eq!(lane.get(theirs).await.success(), &json!(format!("p{n}")));
    }
    let queue = lane.rust.broker().queues().unwrap().counts().unwrap().stats().await.unwrap();
    assert!(queue.iter().all(|stats| stats.ready == 0), "{queue:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn retries_pass_between_workers_of_both_kinds() {
    let world = World::start(Side::Python, |setup| setup.named("python@peer"));
    let _rust = crate::worker::Setup::new(&world.database.url).named("rust@peer").start(Side::Rust);
    let lane = world.lane(Side::Rust).await;
    let calls = (0..60).map(|_| lane.rust.sig("tasks.retry").args((3, 0.1)).send());
    for sent in futures_util::future::join_all(calls).await {
        let seen = lane.read(Side::Rust, sent.unwrap().id().as_str()).await;
        assert_eq!(seen.success(), &json!({ "value": "done", "retries": 3 }));
    }
}
