//! Messages with callbacks, errbacks, a chain or a chord: kept with that reason, never run with what follows them lost.

use std::time::Duration;

use apium::prelude::*;
use serde_json::json;

use crate::lane::texts;
use crate::notes::Notes;
use crate::rust::PATIENCE;
use crate::side::Side;
use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_message_with_follow_ups_is_kept_and_not_run() {
    let world = World::start(Side::Rust, |setup| setup);
    let lane = world.lane(Side::Python).await;
    let notes = Notes::new();
    let links = ["link", "link_error", "chain", "chord"];
    let args = json!([notes.path(), "never"]);
    let sent = lane.python.ask(json!({ "do": "send_with", "task": "tasks.note", "args": args, "links": links })).await;
    let mut ids = texts(&sent["ids"]);
    assert_eq!(ids.len(), 5, "a chord has two of them");

    let dead = lane.rust.broker().dead().unwrap();
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    let all_dead = async {
        loop {
            looks.tick().await;
            let letters = dead.list(0, 10).await.unwrap();
            if letters.len() >= ids.len() {
                return letters;
            }
        }
    };
    let letters = tokio::time::timeout(PATIENCE, all_dead).await.expect("all of them in the dead set");
    let mut found: Vec<String> = letters.iter().filter_map(|letter| letter.task_id.clone()).collect();
    found.sort();
    ids.sort();
    assert_eq!(found, ids);
    for letter in &letters {
        assert_eq!(
            (letter.code.as_str(), letter.queue.as_str(), letter.task.as_deref()),
            ("follow-ups", "celery", Some("tasks.note"))
        );
        assert!(letter.reason.contains("callbacks, errbacks, a chain or a chord"), "{}", letter.reason);
    }

    // The worker goes on with what it can run.
    assert_eq!(lane.value("tasks.add", json!([1, 2]), json!({})).await, json!(3));
    assert_eq!(notes.lines().len(), 0, "none of them ran");
    for id in &ids {
        assert_eq!(lane.rust.result::<Json>(&**id).state().await.unwrap(), TaskState::Pending);
    }
}
