//! Tasks that wait for their eta: most at the broker, where no worker has fetched them.

use std::time::Duration;

use apium_app::app::app::App;
use apium_worker::builder::AppWorker as _;
use apium_worker::testing::builder::AppTest as _;
use serde_json::{Value, json as j};

use crate::control::caller::call;
use crate::rig::{json, until_state};
use crate::task;

task!(Add = "add", [], async |_ctx| Ok(json(1)));

fn ids(scheduled: &Value) -> Vec<(&str, &str)> {
    let scheduled = scheduled.as_array().unwrap().iter();
    scheduled.map(|task| (task["request"]["id"].as_str().unwrap(), task["eta"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn what_waits_at_the_broker_is_scheduled() {
    let app = App::test().with(|app| app.autodiscover(false)).register::<Add>().build().await.unwrap();
    let send = async |id: &str, queue: &str, seconds: u64| {
        let call = app.sig("add").args((1,)).kwarg("z", 3).call().task_id(id).queue(queue);
        call.countdown(Duration::from_secs(seconds)).send(&app).await.unwrap();
    };
    send("far", "celery", 7200).await;
    send("paused", "mail", 3600).await;
    send("elsewhere", "other", 3600).await;
    let worker = app.worker().hostname("w1@h").queues(["celery", "mail"]).start().await.unwrap();
    call(&app, "pause_queue", j!({"queue": "mail"})).await;
    send("near", "celery", 60).await;
    let scheduled = call(&app, "scheduled", j!({})).await;
    let wanted = [
        ("near", "2030-01-01T00:01:00+00:00"),
        ("paused", "2030-01-01T01:00:00+00:00"),
        ("far", "2030-01-01T02:00:00+00:00"),
    ];
    assert_eq!(ids(&scheduled), wanted);
    assert_eq!(
        scheduled[0],
        j!({
            "eta": "2030-01-01T00:01:00+00:00",
            "priority": 6,
            "request": {
                "id": "near", "name": "add", "args": [1], "kwargs": {"z": 3}, "type": "add", "hostname": "w1@h",
                "time_start": null, "acknowledged": false, "worker_pid": null,
                "delivery_info": {"exchange": "", "routing_key": "celery", "priority": 0, "redelivered": false},
            },
        })
    );
    let found = call(&app, "query_task", j!({"ids": ["far", "elsewhere", "nobody"]})).await;
    assert_eq!((&found["far"][0], found.as_object().unwrap().len()), (&j!("scheduled"), 1), "{found}");
    app.clock().advance(Duration::from_secs(60));
    until_state(&app, "near", "SUCCESS").await;
    assert_eq!(ids(&call(&app, "scheduled", j!({})).await), wanted[1..]);
    worker.stop().await;
}

/// A million etas would be a reply that nobody reads.
#[tokio::test]
async fn the_soonest_of_each_queue_are_scheduled() {
    let app = App::test().with(|app| app.autodiscover(false)).register::<Add>().build().await.unwrap();
    for number in (0..150).rev() {
        let call = app.sig("add").call().task_id(format!("t{number}"));
        call.countdown(Duration::from_secs(3600 + number)).send(&app).await.unwrap();
    }
    let worker = app.worker().start().await.unwrap();
    let scheduled = call(&app, "scheduled", j!({})).await;
    let seen: Vec<_> = ids(&scheduled).into_iter().map(|(id, _)| id.to_owned()).collect();
    assert_eq!(seen, (0..100).map(|number| format!("t{number}")).collect::<Vec<_>>());
    worker.stop().await;
}
