//! What Flower does to a Rust worker and to a Python worker: revoke and terminate, pool, queues, limits and shutdown.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::kit::deployment::{Broker, Deployment};
use crate::kit::flower::Flower;
use crate::kit::shape::Shape;
use crate::kit::side::Side;

/// A worker with two slots in which two tasks run, and which has three more, with their ids.
struct Busy {
    flower: Flower,
    running: Vec<String>,
    waiting: Vec<String>,
    _deployment: Deployment,
}

const DETAILS: &str = "/api/workers?refresh=1&workername=one@peer";

impl Busy {
    fn start(broker: Broker, side: Side) -> Self {
        let deployment = Deployment::start_on(broker, side, |setup| {
            setup.set("worker_send_task_events", json!(true)).set("worker_prefetch_multiplier", json!(4))
        });
        let flower = Flower::start(&deployment);
        let call = |task: &str, args: Value| {
            let answer = flower.call("async-apply", task, &json!({ "args": args }));
            assert_eq!(answer["state"], "PENDING");
            answer["task-id"].as_str().unwrap().to_owned()
        };
        let running: Vec<String> = (0..2).map(|_| call("tasks.sleep", json!([600]))).collect();
        flower.until(DETAILS, |workers| listed(workers, "active") == 2);
        let waiting: Vec<String> = (0..3).map(|number| call("tasks.add", json!([number, 2]))).collect();
        flower.until(DETAILS, |workers| listed(workers, "reserved") == 3);
        Self { flower, running, waiting, _deployment: deployment }
    }

    fn both_on(broker: Broker) -> [Self; 2] {
        std::thread::scope(|scope| {
            let [rust, python] = [Side::Rust, Side::Python].map(|side| scope.spawn(move || Self::start(broker, side)));
            [rust.join().unwrap(), python.join().unwrap()]
        })
    }

    /// Posts without a body, and returns the status and the text that came back.
    fn post(&self, path: &str) -> (u16, String) {
        let answer = self.flower.post(path, &Value::Null);
        (answer.status, answer.body)
    }

    /// Posts, and expects that Flower says it is done.
    #[track_caller]
    fn done(&self, path: &str, message: &str) {
        let (status, body) = self.post(path);
        assert_eq!(status, 200, "{path}: {body}");
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), json!({ "message": message }), "{path}");
    }

    fn state(&self, id: &str) -> Value {
        self.flower.json(&format!("/api/task/info/{id}"))["state"].clone()
    }

    fn until_state(&self, id: &str, state: &str) {
        self.flower.until(&format!("/api/task/info/{id}"), |task| task["state"] == state);
    }

    fn stats(&self) -> Value {
        self.flower.json(DETAILS)["one@peer"]["stats"].clone()
    }

    fn queues(&self) -> BTreeSet<String> {
        let details = self.flower.json(DETAILS);
        let queues = details["one@peer"]["active_queues"].as_array().unwrap();
        queues.iter().map(|queue| queue["name"].as_str().unwrap().to_owned()).collect()
    }
}

/// How many tasks an inspection lists.
fn listed(workers: &Value, inspection: &str) -> usize {
    workers["one@peer"][inspection].as_array().map_or(0, Vec::len)
}

/// What Flower keeps of a worker, without what differs for good reasons: how a pool works, the address of the broker as
/// each side writes it, and each side's own settings.
fn comparable(mut worker: Value) -> Value {
    let parts = worker.as_object_mut().unwrap();
    assert!(parts.remove("conf").unwrap().is_object());
    let stats = parts["stats"].as_object_mut().unwrap();
    for part in ["pool", "broker"] {
        assert!(stats.remove(part).unwrap().is_object(), "{part}");
    }
    worker
}

#[test]
fn flower_sees_a_busy_worker_as_it_is() {
    let busy = Busy::both_on(Broker::Redis);
    let workers = busy.each_ref().map(|busy| busy.flower.json(DETAILS)["one@peer"].clone());
    assert_eq!(workers[0]["registered"], workers[1]["registered"]);
    let [rust, python] = workers.each_ref().map(|worker| Shape::of(&comparable(worker.clone())));
    assert_eq!(rust, python, "{workers:#?}");
    for busy in &busy {
        assert_eq!(
            busy.flower.json("/api/queues/length"),
            json!({ "active_queues": [{ "name": "celery", "messages": 0 }] })
        );
        busy.flower.until("/workers?json=1", |workers| workers["data"][0]["active"] == 2);
        let page = busy.flower.get("/worker/one@peer").body;
        assert!(busy.running.iter().chain(&busy.waiting).all(|id| page.contains(&**id)), "{page}");
        let page = busy.flower.get(&format!("/task/{}", busy.running[0])).body;
        assert!(page.contains("STARTED") && page.contains("[600]"), "{page}");
    }
}

fn revokes_and_terminates_on(broker: Broker) {
    for busy in Busy::both_on(broker) {
        let (running, waiting) = (&busy.running, &busy.waiting);
        let revoke = |id: &str, how: &str| {
            busy.done(&format!("/api/task/revoke/{id}{how}"), &format!("Revoked '{id}'"));
        };
        revoke(&waiting[0], "");
        revoke(&running[0], "");
        // What runs is not stopped by a revoke alone.
        assert_eq!(busy.state(&running[0]), "STARTED");
        revoke(&running[0], "?terminate=true&signal=SIGTERM");
        busy.until_state(&running[0], "REVOKED");
        revoke(&running[1], "?terminate=true&signal=SIGKILL");
        busy.until_state(&running[1], "REVOKED");
        for (id, state) in [(&waiting[0], "REVOKED"), (&waiting[1], "SUCCESS"), (&waiting[2], "SUCCESS")] {
            busy.until_state(id, state);
            busy.flower.until(&format!("/api/task/result/{id}"), |result| result["state"] == state);
        }
        busy.done("/api/task/abort/never-sent", "Aborted 'never-sent'");
        assert_eq!(busy.flower.json("/api/task/result/never-sent")["state"], "ABORTED");
    }
}

#[test]
fn flower_revokes_and_terminates_on_both_workers() {
    revokes_and_terminates_on(Broker::Redis);
}

#[test]
fn flower_revokes_and_terminates_on_both_workers_over_rabbitmq() {
    revokes_and_terminates_on(Broker::Rabbitmq);
}

/// What both workers answer word for word.
const SAME: [&str; 18] = [
    "/api/worker/pool/grow/one@peer?n=1",
    "/api/worker/pool/grow/one@peer?n=many",
    "/api/worker/pool/grow/other@peer",
    "/api/worker/pool/restart/one@peer",
    "/api/worker/pool/autoscale/one@peer?min=1&max=4",
    "/api/worker/pool/autoscale/one@peer",
    "/api/worker/queue/add-consumer/one@peer?queue=more",
    "/api/worker/queue/cancel-consumer/one@peer?queue=never",
    "/api/task/timeout/tasks.add?workername=one@peer&soft=10&hard=20",
    "/api/task/timeout/tasks.add?workername=one@peer&soft=10",
    "/api/task/timeout/tasks.add?workername=one@peer&hard=10",
    "/api/task/timeout/tasks.add?workername=one@peer",
    "/api/task/timeout/tasks.unknown?workername=one@peer&soft=10&hard=20",
    "/api/task/rate-limit/tasks.add?workername=one@peer&ratelimit=100/m",
    "/api/task/rate-limit/tasks.add?workername=one@peer&ratelimit=ten",
    "/api/task/rate-limit/tasks.add?workername=one@peer&ratelimit=0",
    "/api/task/rate-limit/tasks.unknown?workername=one@peer&ratelimit=1",
    "/api/task/rate-limit/tasks.add?workername=other@peer&ratelimit=1",
];

/// What Celery does without a look at the number, and a Rust worker refuses.
const REFUSED: [&str; 3] = [
    "/api/worker/pool/grow/one@peer?n=-1",
    "/api/task/timeout/tasks.add?workername=one@peer&soft=20&hard=10",
    "/api/task/timeout/tasks.add?workername=one@peer&soft=-1",
];

#[test]
fn flower_changes_pool_queues_and_limits_of_both_workers() {
    let [rust, python] = Busy::both_on(Broker::Redis);
    for path in SAME {
        assert_eq!(rust.post(path), python.post(path), "{path}");
    }
    let concurrency = |busy: &Busy| busy.stats()["pool"]["max-concurrency"].clone();
    assert_eq!((concurrency(&rust), rust.queues()), (json!(3), BTreeSet::from(["celery", "more"].map(str::to_owned))));
    assert_eq!(rust.queues(), python.queues());
    for busy in [&rust, &python] {
        busy.done("/api/worker/queue/cancel-consumer/one@peer?queue=more", "no longer consuming from more");
        busy.flower.until(DETAILS, |workers| listed(workers, "active_queues") == 1);
        // The grown pool has a slot for what waited.
        busy.until_state(&busy.waiting[2], "SUCCESS");
        busy.done("/api/worker/pool/shrink/one@peer?n=1", "Shrinking 'one@peer' worker's pool by 1");
    }
    assert_eq!(concurrency(&rust), json!(2));
    // Celery refuses it with two reasons, by how many processes are busy; nobody is left without a slot.
    for busy in [&rust, &python] {
        assert_eq!(busy.post("/api/worker/pool/shrink/one@peer?n=100").0, 403);
    }
    for path in REFUSED {
        assert_eq!((rust.post(path).0, python.post(path).0), (403, 200), "{path}");
    }
}

#[test]
fn flower_stops_both_workers() {
    for side in Side::BOTH {
        let deployment = Deployment::start(side, |setup| setup);
        let flower = Flower::start(&deployment);
        flower.until(DETAILS, |workers| workers["one@peer"]["stats"].is_object());
        let answer = flower.post("/api/worker/shutdown/one@peer", &Value::Null);
        assert_eq!((answer.status, &*answer.body), (200, r#"{"message": "Shutting down!"}"#));
        flower.until("/api/workers?status=1", |workers| workers["one@peer"] == false);
        let shown = flower.json("/workers?json=1")["data"][0].clone();
        assert_eq!((&shown["status"], &shown["worker-offline"]), (&json!(false), &json!(1)));
    }
}
