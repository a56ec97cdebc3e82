//! Events: what Celery's own receiver and state make of a Rust worker, compared with a Python worker.

use std::collections::BTreeMap;
use std::time::Duration;

use apium_peers::guarded::Guarded;
use apium_peers::log::Seen;
use apium_peers::python::Python;
use serde_json::{Value, json};

use crate::kit::deployment::{Broker, Deployment};
use crate::kit::side::Side;

const LIMIT: Duration = Duration::from_secs(90);

/// Celery's receiver, in a process of its own.
struct Receiver(Guarded);

impl Receiver {
    /// Listens until so many events of these types have come. It reads this format and no other one.
    fn start(deployment: &Deployment, kinds: &str, count: usize, serializer: &str) -> Self {
        let env = [("BROKER_URL", &*deployment.broker), ("RESULT_BACKEND", &*deployment.database.url)];
        let command = Python::find().command(["watch_events.py", kinds, &count.to_string(), serializer], &env);
        let running = Guarded::start(&command, None).unwrap();
        assert_eq!(running.log().wait_for(&["ready"], LIMIT), Seen::Line, "{}", running.log().text());
        Self(running)
    }

    /// What it has received, once that is all.
    fn received(mut self) -> Value {
        assert!(self.0.wait(LIMIT).is_some_and(|status| status.success()), "{}", self.0.log().text());
        let text = self.0.log().text();
        let last = text.lines().rfind(|line| line.starts_with('{')).unwrap();
        serde_json::from_str(last).unwrap()
    }
}

/// The types of the events of one task, each with its fields, in order.
type Life = Vec<(String, Vec<String>)>;

/// The life of each task, by its name.
fn lives(received: &Value) -> BTreeMap<String, Life> {
    let names: BTreeMap<&str, &str> = received["tasks"].as_object().unwrap().iter().map(name_of).collect();
    let mut lives: BTreeMap<String, Life> = BTreeMap::new();
    for event in received["events"].as_array().unwrap() {
        let Some(name) = event["uuid"].as_str().and_then(|id| names.get(id)) else { continue };
        let mut fields: Vec<String> = event.as_object().unwrap().keys().cloned().collect();
        fields.sort();
        lives.entry((*name).to_owned()).or_default().push((event["type"].as_str().unwrap().to_owned(), fields));
    }
    // In Celery the next run of a task may be received before the last one says that it is retried.
    lives.iter_mut().filter(|(name, _)| name.contains("retry")).for_each(|(_, life)| life.sort());
    lives
}

fn name_of<'a>((id, task): (&'a String, &'a Value)) -> (&'a str, &'a str) {
    (id, task["name"].as_str().unwrap_or_default())
}

/// What `celery.events.State` says of each task, without what differs between any two runs.
fn states(received: &Value) -> BTreeMap<String, Value> {
    let tasks = received["tasks"].as_object().unwrap().values();
    let shown = |task: &Value| {
        json!({
            "state": task["state"], "args": task["args"], "kwargs": task["kwargs"], "result": task["result"],
            "exception": task["exception"], "has_runtime": task["runtime"].is_number(), "worker": task["worker"],
        })
    };
    tasks.map(|task| (task["name"].as_str().unwrap_or_default().to_owned(), shown(task))).collect()
}

async fn watched(broker: Broker, worker: Side, serializer: &str) -> Value {
    let deployment = Deployment::start_on(broker, worker, |setup| {
        setup.set("worker_send_task_events", json!(true)).set("event_serializer", json!(serializer))
    });
    // The worker says that it has rejected a task when the broker has taken the message back.
    let receiver = Receiver::start(&deployment, "task-succeeded,task-rejected", 3, serializer);
    let pair = deployment.pair(Side::Python).await;
    let failed = pair.send("tasks.fail", json!(["no\nluck"])).await;
    assert_eq!(pair.get(&failed).await.state, "FAILURE");
    let expired = pair.call("tasks.mul", json!([1, 1]), json!({}), json!({ "expires": -5 })).await;
    assert_eq!(pair.get(&expired).await.state, "REVOKED");
    let retried = pair.call("tasks.always_retry", json!([]), json!({}), json!({})).await;
    pair.get(&retried).await;
    let rejected = pair.send("tasks.reject", json!([])).await;
    drop(rejected);
    pair.value("tasks.echo", json!([1, "é"]), json!({})).await;
    pair.value("tasks.add", json!([1, 2]), json!({})).await;
    receiver.received()
}

on_every_broker! {
    async fn celery_sees_the_same_life_of_tasks_on_both_workers(broker: Broker) {
        let (rust, python) = tokio::join!(watched(broker, Side::Rust, "json"), watched(broker, Side::Python, "json"));
        assert_eq!(lives(&rust), lives(&python));
        let (mut ours, mut theirs) = (states(&rust), states(&python));
        // In Celery the last run may end before it says that the run before is retried.
        let [our_state, _] =
            [&mut ours, &mut theirs].map(|states| states.get_mut("tasks.always_retry").unwrap()["state"].take());
        assert_eq!(our_state, "FAILURE");
        assert_eq!(ours, theirs);
        for received in [&rust, &python] {
            assert_eq!(received["workers"]["one@peer"]["alive"], json!(true), "{}", received["workers"]);
            let clocks = received["events"].as_array().unwrap().iter().map(|event| event["clock"].as_u64().unwrap());
            assert!(clocks.clone().all(|clock| clock > 0), "every event has a clock");
        }
    }

    async fn events_are_in_the_format_of_the_setting(broker: Broker) {
        let (rust, python) =
            tokio::join!(watched(broker, Side::Rust, "msgpack"), watched(broker, Side::Python, "msgpack"));
        assert_eq!(lives(&rust), lives(&python));
        assert_eq!(states(&rust), states(&python));
        assert_eq!(lives(&watched(broker, Side::Rust, "yaml").await), lives(&python));
    }
}
