//! The example `interop`: each task behaves like the Celery task of the same name.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::program::Sandbox;

fn value(sandbox: &Sandbox, args: &[&str]) -> Value {
    let (document, code) = sandbox.call(args);
    assert_eq!((code, &document["status"]), (0, &json!("SUCCESS")), "{document}");
    document["result"].clone()
}

fn failure(sandbox: &Sandbox, args: &[&str]) -> Value {
    let (document, code) = sandbox.call(args);
    assert_eq!((code, &document["status"]), (1, &json!("FAILURE")), "{document}");
    document["result"].clone()
}

#[test]
fn values_come_back_as_python_makes_them() {
    let sandbox = Sandbox::new();
    let _worker = sandbox.worker(&[]);
    assert_eq!(value(&sandbox, &["tasks.add", "-a", "[2, 0.5]"]), json!(2.5));
    assert_eq!(value(&sandbox, &["tasks.add", "-a", "[\"a\", \"b\"]"]), json!("ab"));
    assert_eq!(value(&sandbox, &["tasks.mul", "-a", "[6, 7]"]), json!(42));
    assert_eq!(value(&sandbox, &["tasks.xsum", "-a", "[[1, 2, 3]]"]), json!(6));
    let echoed = value(&sandbox, &["tasks.echo", "-a", "[1, [\"x\"]]", "-k", "{\"k\": null}"]);
    assert_eq!(echoed, json!({ "args": [1, ["x"]], "kwargs": { "k": null } }));
    assert_eq!(value(&sandbox, &["tasks.identity"]), json!(null));
    assert_eq!(value(&sandbox, &["tasks.noop"]), json!(null));
}

#[test]
fn failures_name_python_classes() {
    let sandbox = Sandbox::new();
    let _worker = sandbox.worker(&[]);
    assert_eq!(
        failure(&sandbox, &["tasks.fail"]),
        json!({ "exc_type": "ValueError", "exc_message": ["boom"], "exc_module": "builtins" })
    );
    assert_eq!(
        failure(&sandbox, &["tasks.fail_custom"]),
        json!({ "exc_type": "PeerError", "exc_message": [7, "custom"], "exc_module": "tasks" })
    );
    let mixed = failure(&sandbox, &["tasks.add", "-a", "[1, \"a\"]"]);
    assert_eq!(mixed["exc_message"], json!(["unsupported operand type(s) for +: 'int' and 'str'"]));
}

#[test]
fn retries_end_as_in_celery() {
    let sandbox = Sandbox::new();
    let _worker = sandbox.worker(&[]);
    assert_eq!(value(&sandbox, &["tasks.retry", "-a", "[2]"]), json!({ "value": "done", "retries": 2 }));
    assert_eq!(failure(&sandbox, &["tasks.retry", "-a", "[9]"])["exc_type"], "ValueError");
    assert_eq!(failure(&sandbox, &["tasks.always_retry"])["exc_type"], "KeyError");
}

#[test]
fn sleeping_tasks_stop_at_their_soft_limit() {
    let sandbox = Sandbox::new();
    let _worker = sandbox.worker(&[]);
    assert_eq!(value(&sandbox, &["tasks.sleep", "-a", "[0]"]), json!(0));
    assert_eq!(value(&sandbox, &["tasks.late_sleep", "-a", "[0.01]"]), json!(0.01));
    let began = Instant::now();
    assert_eq!(failure(&sandbox, &["tasks.soft", "-a", "[60]"])["exc_type"], "SoftTimeLimitExceeded");
    assert_eq!(
        failure(&sandbox, &["tasks.sleep", "-a", "[60]", "--soft-time-limit", "0.3"])["exc_type"],
        "SoftTimeLimitExceeded"
    );
    assert_eq!(
        failure(&sandbox, &["tasks.sleep", "-a", "[60]", "--time-limit", "0.3"])["exc_type"],
        "TimeLimitExceeded"
    );
    assert!(began.elapsed() < Duration::from_secs(50));
}

#[test]
fn whoami_reports_what_the_message_says() {
    let sandbox = Sandbox::new();
    let _worker = sandbox.worker(&[]);
    let who = value(
        &sandbox,
        &["tasks.whoami", "--task-id", "w-1", "--priority", "5", "--time-limit", "30", "--soft-time-limit", "20"],
    );
    assert_eq!((&who["id"], &who["root_id"], &who["correlation_id"]), (&json!("w-1"), &json!("w-1"), &json!("w-1")));
    assert_eq!((&who["parent_id"], &who["retries"], &who["headers"]), (&json!(null), &json!(0), &json!(null)));
    assert_eq!(
        who["timelimit"].as_array().map(|limits| limits.iter().filter_map(Value::as_f64).collect()),
        Some(vec![30.0, 20.0])
    );
    assert_eq!(
        who["delivery_info"],
        json!({ "exchange": "", "routing_key": "celery", "priority": 5, "redelivered": false })
    );
    assert!(who["origin"].as_str().unwrap().starts_with("gen"));
    assert_eq!(who.as_object().map(serde_json::Map::len), Some(20));
}

#[test]
fn ignored_rejected_and_spawned() {
    let sandbox = Sandbox::new();
    let _worker = sandbox.worker(&[]);
    sandbox.interop(&["call", "tasks.ignore", "--task-id", "i-1"]).with_code(0);
    let (document, code) = sandbox.call(&["tasks.spawn", "-a", "[3]"]);
    assert_eq!((code, &document["result"]), (0, &json!(3)));
    assert_eq!(document["children"].as_array().map(Vec::len), Some(3), "{document}");
    assert_eq!(sandbox.apium(&["result", "i-1", "--json"]).json()["status"], "PENDING");
    let (document, code) = sandbox.call(&["tasks.reject"]);
    assert_eq!((code, &document["status"]), (1, &json!("FAILURE")), "{document}");
}

#[test]
fn replacements_and_errbacks_are_tasks_too() {
    let sandbox = Sandbox::new();
    let _worker = sandbox.worker(&[]);
    assert_eq!(
        value(&sandbox, &["tasks.replace_me", "-a", "[3, 4]"]),
        json!(7),
        "under the id of the task that was replaced"
    );
    assert_eq!(value(&sandbox, &["tasks.errback1", "-a", "[\"x\"]"]), json!("failed:x"));
    assert_eq!(value(&sandbox, &["tasks.on_error", "-a", "[1, \"a\"]"]), json!(["1", "'a'"]));
    let raised = r#"[{"id": "x"}, {"exc_type": "ValueError", "exc_message": ["b"], "exc_module": "builtins"}, null]"#;
    assert_eq!(value(&sandbox, &["tasks.errback3", "-a", raised]), json!(null));
    assert_eq!(failure(&sandbox, &["tasks.fail", "-a", "[2]"])["exc_message"], json!([2]));
}
