//! The tools of a Celery operator: `celery inspect`, `celery control` and `celery status`, asked of a Rust worker and
//! of a Python worker in the same state. Both must answer in the same shape.

use std::collections::BTreeSet;
use std::fmt;

use apium_peers::python::run_python;
use serde_json::{Value, json};

use crate::kit::deployment::Deployment;
use crate::kit::side::Side;

/// The exit code of Celery's commands when nobody answers.
const NOBODY: i64 = 69;

/// What one command of `operate.py` printed.
#[derive(Debug)]
struct Printed {
    words: String,
    code: i64,
    output: String,
}

/// Runs commands of Celery's command line against this deployment.
fn operate(deployment: &Deployment, commands: &Value) -> Vec<Printed> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("commands.json");
    std::fs::write(&file, commands.to_string()).unwrap();
    let url = &*deployment.database.url;
    let ran = run_python(["operate.py", file.to_str().unwrap()], &[("BROKER_URL", url), ("RESULT_BACKEND", url)]);
    let answers: Value = serde_json::from_str(ran.text()).unwrap();
    let answers = answers.as_array().unwrap().iter().map(|answer| Printed {
        words: answer["words"].to_string(),
        code: answer["code"].as_i64().unwrap(),
        output: answer["output"].as_str().unwrap().to_owned(),
    });
    answers.collect()
}

/// The shape of a JSON value: which keys it has, and of what type everything is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Shape {
    Null,
    Bool,
    Number,
    Text,
    /// The shapes of its elements.
    List(BTreeSet<Shape>),
    Map(Vec<(String, Shape)>),
}

impl Shape {
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::Text,
            Value::Array(items) => Self::List(items.iter().map(Self::of).collect()),
            Value::Object(fields) => {
                let mut fields: Vec<_> = fields.iter().map(|(key, value)| (key.clone(), Self::of(value))).collect();
                fields.sort();
                Self::Map(fields)
            }
        }
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Number => f.write_str("number"),
            Self::Text => f.write_str("text"),
            Self::List(items) => f.debug_list().entries(items).finish(),
            Self::Map(fields) => f.debug_map().entries(fields.iter().map(|(key, shape)| (key, shape))).finish(),
        }
    }
}

/// A worker with two slots in which two tasks run, and which has two more, with their ids. A task with an eta waits at
/// the broker here, and in the worker there, so none is among them.
async fn busy(side: Side) -> (Deployment, Vec<String>) {
    let deployment = Deployment::start(side, |setup| {
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
fn inspections(ids: &[String]) -> Value {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_inspection_has_the_same_shape_from_both_workers() {
    let ((rust, rust_ids), (python, python_ids)) = (busy(Side::Rust).await, busy(Side::Python).await);
    let ours = operate(&rust, &inspections(&rust_ids));
    let theirs = operate(&python, &inspections(&python_ids));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!((ours.code, theirs.code), (0, 0), "{ours:?}\n{theirs:?}");
        let read = |printed: &Printed, ids: &[String]| {
            let output = without_ids(&printed.output, ids);
            let reply: Value = serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {printed:?}"));
            Shape::of(&comparable(&printed.words, reply))
        };
        assert_eq!(
            read(ours, &rust_ids),
            read(theirs, &python_ids),
            "{}\n{}\n{}",
            ours.words,
            ours.output,
            theirs.output
        );
    }
}

/// Commands that change something, and whose answer depends on nothing but the worker's tasks.
fn controls() -> Value {
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
    ])
}

/// An output without what differs between any two runs: ids, and the order of a set.
fn without_ids(output: &str, ids: &[String]) -> String {
    let mut output = output.to_owned();
    for (number, id) in ids.iter().enumerate() {
        output = output.replace(id, &format!("<id {number}>"));
    }
    output.replace("'<id 3>', '<id 2>'", "'<id 2>', '<id 3>'")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_control_command_prints_the_same_of_both_workers() {
    let ((rust, rust_ids), (python, python_ids)) = (busy(Side::Rust).await, busy(Side::Python).await);
    let ours = operate(&rust, &controls());
    let theirs = operate(&python, &controls());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let (ours_text, theirs_text) = (without_ids(&ours.output, &rust_ids), without_ids(&theirs.output, &python_ids));
        assert_eq!((ours.code, ours_text), (theirs.code, theirs_text), "{}", ours.words);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn status_counts_both_workers_and_says_when_there_is_none() {
    let rust = Deployment::start(Side::Rust, |setup| setup);
    let printed = operate(&rust, &json!([["status", "-t", "5"], ["inspect", "ping", "-t", "1", "-d", "nobody@peer"]]));
    assert!(printed[0].output.contains("1 node online."), "{printed:?}");
    assert_eq!((printed[0].code, printed[1].code), (0, NOBODY), "{printed:?}");
}
