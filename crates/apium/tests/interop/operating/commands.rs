//! The commands of an operator, and a worker in a state in which they have something to say.

use apium_peers::python::run_python;
use serde_json::{Value, json};

use crate::kit::deployment::{Broker, Deployment};
use crate::kit::shape::Shape;
use crate::kit::side::Side;
use crate::kit::worker::as_object;

/// What one command of `operate.py` printed.
#[derive(Debug)]
pub(super) struct Printed {
    pub(super) words: String,
    pub(super) code: i64,
    pub(super) output: String,
}

/// Runs commands of Celery's command line against this deployment.
pub(super) fn operate(deployment: &Deployment, commands: &Value) -> Vec<Printed> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("commands.json");
    std::fs::write(&file, commands.to_string()).unwrap();
    let (broker, results) = (&*deployment.broker, &*deployment.database.url);
    let settings = as_object(&deployment.settings).to_string();
    let env = [("BROKER_URL", broker), ("RESULT_BACKEND", results), ("PEER_CONF", &*settings)];
    let ran = run_python(["operate.py", file.to_str().unwrap()], &env);
    let answers: Value = serde_json::from_str(ran.text()).unwrap();
    let answers = answers.as_array().unwrap().iter().map(|answer| Printed {
        words: answer["words"].to_string(),
        code: answer["code"].as_i64().unwrap(),
        output: answer["output"].as_str().unwrap().to_owned(),
    });
    answers.collect()
}

/// A worker with two slots in which two tasks run, and which has two more, with their ids. A task with an eta waits at
/// the broker here, and in the worker there, so none is among them.
pub(super) async fn busy(broker: Broker, side: Side) -> (Deployment, Vec<String>) {
    let deployment = Deployment::start_on(broker, side, |setup| {
        setup.set("worker_send_task_events", json!(true)).set("worker_prefetch_multiplier", json!(4))
    });
    let pair = deployment.pair(Side::Python).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(pair.call("tasks.sleep", json!([600]), json!({}), json!({})).await);
    }
    let listed = |kind: &'static str| ask(&deployment, kind);
    until(|| listed("active").as_array().is_some_and(|active| active.len() == 2));
    ids.push(pair.call("tasks.echo", json!([1]), json!({ "k": "v" }), json!({})).await);
    ids.push(pair.call("tasks.add", json!([1, 2]), json!({}), json!({})).await);
    until(|| listed("reserved").as_array().is_some_and(|reserved| reserved.len() == 2));
    (deployment, ids)
}

/// Asks one inspection again until it holds; each question takes as long as a reply does.
fn until(mut holds: impl FnMut() -> bool) {
    assert!((0..30).any(|_| holds()), "the worker never came into the state that the test needs");
}

/// What the only worker of a deployment answers to an inspection.
fn ask(deployment: &Deployment, kind: &str) -> Value {
    let printed = operate(deployment, &json!([["inspect", kind, "--json", "-t", "5", "-d", "one@peer"]]));
    assert_eq!(printed[0].code, 0, "{printed:?}");
    let replies: Value = serde_json::from_str(&printed[0].output).unwrap();
    replies["one@peer"].clone()
}

/// The commands that change nothing, each as JSON.
pub(super) fn inspections(ids: &[String]) -> Value {
    let mut commands = Vec::new();
    for kind in ["ping", "clock", "active", "reserved", "scheduled", "revoked", "registered", "active_queues", "stats"]
    {
        commands.push(json!(["inspect", kind, "--json", "-t", "10", "-d", "one@peer"]));
    }
    let mut query = vec!["inspect", "query_task", "--json", "-t", "10", "-d", "one@peer"];
    query.extend(ids.iter().map(|id| &**id));
    query.push("unknown");
    commands.push(json!(query));
    commands.push(json!(["inspect", "report", "--json", "-t", "10", "-d", "one@peer"]));
    commands.push(json!(["inspect", "conf", "--json", "-t", "10", "-d", "one@peer"]));
    commands.push(json!(["inspect", "memsample", "--json", "-t", "10", "-d", "one@peer"]));
    json!(commands)
}

/// The shape of the JSON that an inspection printed, without what differs for good reasons.
pub(super) fn shape(printed: &Printed, ids: &[String]) -> Shape {
    let output = without_ids(&printed.output, ids);
    let reply: Value = serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {printed:?}"));
    Shape::of(&comparable(&printed.words, reply))
}

/// What differs for good reasons between two workers in the same state: the map of a pool says how that kind of pool
/// works, and settings and reports are each side's own.
fn comparable(words: &str, mut reply: Value) -> Value {
    if words.contains("\"stats\"") {
        let stats = reply["one@peer"].as_object_mut().unwrap();
        let pool = stats.remove("pool").unwrap();
        assert!(pool["max-concurrency"].is_number() && pool["processes"].is_array(), "{pool}");
        stats.remove("broker").unwrap();
        stats.remove("total").unwrap();
    }
    if words.contains("\"conf\"") {
        return json!(reply["one@peer"].is_object());
    }
    if words.contains("\"memsample\"") {
        // Celery needs psutil for it and answers null without.
        return json!(reply["one@peer"].is_null() || reply["one@peer"].is_string());
    }
    reply
}

/// The commands that change something. `pool_shrink` is not among them: Celery refuses it while all processes are busy,
/// and a slot that runs something ends later.
pub(super) fn controls(ids: &[String]) -> Value {
    let to = ["-t", "10", "-d", "one@peer"];
    let control = |words: &[&str]| {
        let mut all = vec!["control"];
        all.extend(to);
        all.extend(words);
        json!(all)
    };
    json!([
        control(&["rate_limit", "tasks.add", "10/m"]),
        control(&["rate_limit", "tasks.add", "0"]),
        control(&["rate_limit", "tasks.nothing", "10/m"]),
        control(&["rate_limit", "tasks.add", "ten"]),
        control(&["time_limit", "tasks.add", "10", "20"]),
        control(&["time_limit", "tasks.nothing", "10", "20"]),
        control(&["pool_grow", "1"]),
        control(&["pool_restart"]),
        control(&["autoscale", "4", "2"]),
        control(&["add_consumer", "more"]),
        control(&["cancel_consumer", "more"]),
        control(&["enable_events"]),
        control(&["revoke", &ids[3]]),
        control(&["revoke", &ids[2], &ids[3]]),
        control(&["terminate", "TERM", &ids[0]]),
        control(&["terminate", "TERM", "unknown"]),
        control(&["revoke_by_stamped_headers", "tenant=7"]),
    ])
}

/// An output without what differs between any two runs: ids, and the order of a set.
pub(super) fn without_ids(output: &str, ids: &[String]) -> String {
    let mut output = output.to_owned();
    for (number, id) in ids.iter().enumerate() {
        output = output.replace(id, &format!("<id {number}>"));
    }
    output.replace("'<id 3>', '<id 2>'", "'<id 2>', '<id 3>'")
}
