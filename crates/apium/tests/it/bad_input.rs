//! Bad input, and how it ends: messages of foreign producers, damaged files, wrong command lines.

use std::fs;
use std::path::Path;

use apium::driver::{Address, Clock, Driver, DriverOptions, Outgoing};
use apium::message::{Headers, Message, Properties};
use apium_peers::port;
use bytes::Bytes;
use serde_json::json;

use crate::program::{Running, Sandbox, run};

/// Publishes a message to the queue `celery`, as a foreign producer that can write anything.
fn publish(sandbox: &Sandbox, id: &str, change: impl FnOnce(&mut Message)) {
    let mut headers = Headers::default();
    headers.task = Some("tasks.add".into());
    headers.id = Some(id.into());
    headers.lang = Some("py".into());
    let mut properties = Properties::default();
    properties.content_type = Some("application/json".into());
    properties.content_encoding = Some("utf-8".into());
    let mut message = Message::new(
        properties,
        headers,
        Bytes::from_static(br#"[[2, 2], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]"#),
    );
    change(&mut message);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let driver = apium::driver::SqliteDriver::new();
        let broker =
            driver.broker(Address::parse(&sandbox.url()).unwrap(), DriverOptions::new(Clock::system())).await.unwrap();
        broker.declare(&apium::config::Topology::new(vec!["celery".into()])).await.unwrap();
        broker.publish(vec![Outgoing::to_queue("celery", message)]).await.unwrap();
        broker.close().await.unwrap();
    });
}

/// The dead letter of a task, after the worker has logged it and a later task has run.
fn dead(sandbox: &Sandbox, worker: &mut Running, id: &str) -> serde_json::Value {
    worker.wait_for(id);
    assert_eq!(sandbox.call(&["tasks.add", "-a", "[1, 1]"]).0["result"], 2, "the worker runs other tasks");
    let list = sandbox.apium(&["dead", "list", "--json"]).with_code(0).json();
    let dead_letters = list.as_array().unwrap();
    dead_letters
        .iter()
        .find(|dead_letter| dead_letter["task_id"] == id)
        .cloned()
        .unwrap_or_else(|| panic!("{id} is not in {list}"))
}

#[test]
fn wrong_arguments_fail_as_in_python() {
    let sandbox = Sandbox::new();
    let _worker = sandbox.worker(&[]);
    for (args, kwargs, text) in [
        ("[1]", "{}", "add() missing 1 required positional argument: 'y'"),
        ("[1, 2, 3]", "{}", "add() takes 2 positional arguments but 3 were given"),
        ("[1, 2]", "{\"z\": 3}", "add() got an unexpected keyword argument 'z'"),
        ("[1, 2]", "{\"x\": 3}", "add() got multiple values for argument 'x'"),
    ] {
        let (document, code) = sandbox.call(&["tasks.add", "-a", args, "-k", kwargs]);
        assert_eq!((code, &document["status"]), (1, &json!("FAILURE")), "{document}");
        assert_eq!(
            document["result"],
            json!({ "exc_type": "TypeError", "exc_message": [text], "exc_module": "builtins" })
        );
        assert_dead_letter(&sandbox, &document, text);
    }
}

/// Asserts that the message of a failed call is in the dead set, with the reason.
fn assert_dead_letter(sandbox: &Sandbox, document: &serde_json::Value, text: &str) {
    let list = sandbox.apium(&["dead", "list", "--json"]).with_code(0).json();
    let dead_letter = list.as_array().unwrap().iter().find(|dead_letter| dead_letter["task_id"] == document["task_id"]);
    let dead_letter = dead_letter.unwrap_or_else(|| panic!("{document} is not in {list}"));
    assert_eq!(dead_letter["code"], "arguments");
    assert!(dead_letter["reason"].as_str().unwrap().contains(text), "{dead_letter}");
}

#[test]
fn wrong_arguments_are_dead_lettered_with_late_ack_too() {
    let sandbox = Sandbox::new();
    let _worker = sandbox.worker(&[]);
    let (document, code) = sandbox.call(&["tasks.late_sleep", "-a", "[1, 2]"]);
    assert_eq!((code, &document["result"]["exc_type"]), (1, &json!("TypeError")), "{document}");
    assert_dead_letter(&sandbox, &document, "late_sleep() takes from 0 to 1 positional arguments but 2 were given");
}

#[test]
fn an_argument_of_the_wrong_type_is_named() {
    let sandbox = Sandbox::new();
    let _worker = sandbox.worker(&[]);
    let (document, code) = sandbox.call(&["tasks.xsum", "-a", "[\"no list\"]"]);
    assert_eq!((code, &document["result"]["exc_type"]), (1, &json!("TypeError")), "{document}");
    assert!(document["result"]["exc_message"][0].as_str().unwrap().contains("numbers"), "{document}");
    assert_dead_letter(&sandbox, &document, "numbers");
}

#[test]
fn an_unknown_task_is_dead_lettered_and_fails() {
    let sandbox = Sandbox::new();
    let mut worker = sandbox.worker(&[]);
    publish(&sandbox, "unknown-1", |message| message.headers.task = Some("tasks.nobody_knows".into()));
    assert_eq!(dead(&sandbox, &mut worker, "unknown-1")["code"], "unknown-task");
    let document = sandbox.apium(&["result", "unknown-1", "--json"]).json();
    assert_eq!((&document["status"], &document["result"]["exc_type"]), (&json!("FAILURE"), &json!("NotRegistered")));
}

#[test]
fn a_content_type_that_is_not_accepted_is_dead_lettered() {
    let sandbox = Sandbox::new();
    let mut worker = sandbox.worker(&[]);
    publish(&sandbox, "pickle-1", |message| {
        message.properties.content_type = Some("application/x-python-serialize".into());
        message.properties.content_encoding = Some("binary".into());
    });
    assert_eq!(dead(&sandbox, &mut worker, "pickle-1")["code"], "content-type");
    assert_eq!(sandbox.apium(&["result", "pickle-1", "--json"]).json()["status"], "PENDING");
    sandbox.interop(&["call", "tasks.noop", "--serializer", "msgpack", "--task-id", "msgpack-1"]).with_code(0);
    assert_eq!(dead(&sandbox, &mut worker, "msgpack-1")["code"], "content-type");
}

#[test]
fn broken_compression_is_dead_lettered() {
    let sandbox = Sandbox::new();
    let mut worker = sandbox.worker(&[]);
    publish(&sandbox, "packed-1", |message| {
        message.headers.compression = Some("application/x-gzip".into());
        message.body = Bytes::from_static(b"this was never packed");
    });
    assert_eq!(dead(&sandbox, &mut worker, "packed-1")["code"], "undecodable");
}

#[test]
fn truncated_json_is_dead_lettered_with_its_bytes_and_can_be_replayed() {
    let sandbox = Sandbox::new();
    let mut worker = sandbox.worker(&[]);
    publish(&sandbox, "cut-1", |message| message.body = Bytes::from_static(b"[[2, 2], {}, {\"callb"));
    let dead_letter = dead(&sandbox, &mut worker, "cut-1");
    assert_eq!(dead_letter["code"], "undecodable");
    let key = dead_letter["key"].to_string();
    let shown = sandbox.apium(&["dead", "show", &key]).with_code(0).out;
    assert!(shown.contains("[[2, 2], {}, {\"callb"), "{shown}");
    sandbox.apium(&["dead", "replay", &key]).with_code(0);
    assert_eq!(dead(&sandbox, &mut worker, "cut-1")["code"], "undecodable", "it is dead-lettered again");
}

#[test]
fn ten_megabytes_of_arguments_come_back_whole() {
    let sandbox = Sandbox::new();
    let _worker = sandbox.worker(&[]);
    let text = "x".repeat(10 << 20);
    publish(&sandbox, "large-1", |message| {
        message.headers.task = Some("tasks.identity".into());
        message.body = format!("[[\"{text}\"], {{}}, {{}}]").into();
    });
    let document = sandbox.apium(&["result", "large-1", "--watch", "--json", "--timeout", "60"]).with_code(0).json();
    assert_eq!(document["result"].as_str().map(str::len), Some(text.len()));
}

#[test]
fn a_corrupt_file_is_named() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.file(), b"this is no database, and it is long enough to be read as one".repeat(100)).unwrap();
    for command in [&["queues"][..], &["call", "x"], &["result", "x"]] {
        let output = sandbox.apium(command).with_code(3);
        assert!(output.err.contains("queue.db") && output.err.lines().count() == 2, "{output:?}");
    }
    sandbox.interop(&["worker"]).with_code(3);
}

#[test]
fn a_read_only_file_is_named() {
    let sandbox = Sandbox::new();
    sandbox.apium(&["call", "x"]).with_code(0);
    let mut rights = fs::metadata(sandbox.file()).unwrap().permissions();
    rights.set_readonly(true);
    fs::set_permissions(sandbox.file(), rights).unwrap();
    if fs::OpenOptions::new().write(true).open(sandbox.file()).is_ok() {
        // The superuser may write in spite of the rights, but nobody can write a folder as a file.
        fs::remove_file(sandbox.file()).unwrap();
        fs::create_dir(sandbox.file()).unwrap();
    }
    let output = sandbox.apium(&["call", "x"]).with_code(3);
    assert!(output.err.contains("queue.db"), "{output:?}");
}

#[test]
fn a_second_worker_of_the_same_name_warns_in_both_logs() {
    let sandbox = Sandbox::new();
    let mut first = sandbox.worker(&["-n", "twin@here"]);
    let mut second = sandbox.worker(&["-n", "twin@here"]);
    assert!(second.seen_or_wait("twin@here", "another").contains("twin@here"));
    assert!(first.seen_or_wait("twin@here", "another").contains("twin@here"));
    assert_eq!(sandbox.call(&["tasks.add", "-a", "[1, 1]"]).0["result"], 2, "both run");
}

#[test]
fn the_name_of_a_killed_worker_is_free_at_once() {
    let sandbox = Sandbox::new();
    sandbox.worker(&["-n", "twin@here"]).kill();
    let second = sandbox.worker(&["-n", "twin@here"]);
    assert_eq!(sandbox.call(&["tasks.add", "-a", "[1, 1]"]).0["result"], 2);
    let (_, lines) = second.stop("TERM");
    assert!(!lines.iter().any(|line| line.contains("another")), "{lines:#?}");
}

#[test]
fn a_soft_limit_above_the_hard_one_is_refused() {
    let sandbox = Sandbox::new();
    let call = sandbox.interop(&["call", "tasks.add", "--time-limit", "1", "--soft-time-limit", "2"]).with_code(2);
    assert!(call.err.contains("soft"), "{call:?}");
    let worker = sandbox.interop(&["worker", "--time-limit", "1", "--soft-time-limit", "2"]).with_code(2);
    assert!(worker.err.contains("task_soft_time_limit"), "{worker:?}");
}

#[test]
fn a_malformed_rate_limit_is_refused() {
    let sandbox = Sandbox::new();
    let output = sandbox.interop(&["worker", "--set", "task_default_rate_limit=10/x"]).with_code(2);
    assert!(output.err.contains("10/x") && output.err.contains("task_default_rate_limit"), "{output:?}");
}

#[test]
fn an_unknown_setting_names_the_nearest() {
    let sandbox = Sandbox::new();
    let option = sandbox.apium(&["queues", "--set", "task_serialiser=json"]).with_code(2);
    assert!(option.err.contains("task_serializer"), "{option:?}");
    fs::write(sandbox.path().join("apium.toml"), "worker_prefetch_multiplyer = 1").unwrap();
    let file = sandbox.apium(&["queues"]).with_code(2);
    assert!(file.err.contains("worker_prefetch_multiplier") && file.err.contains("apium.toml"), "{file:?}");
}

#[test]
fn the_result_of_an_unknown_id_is_pending() {
    let sandbox = Sandbox::new();
    // The file has one user, so it is certain that no worker has the task.
    let document = sandbox.apium(&["result", "nobody", "--json"]).with_code(5).json();
    assert_eq!((&document["status"], &document["result"]), (&json!("PENDING"), &json!(null)));
}

#[test]
fn an_option_of_a_driver_has_its_type_in_file_and_variable() {
    let sandbox = Sandbox::new();
    let file = sandbox.path().join("apium.toml");
    let refused = |args: &[&str]| {
        let mut command = sandbox.command(Path::new(env!("CARGO_BIN_EXE_apium")), args);
        command.env_remove("APIUM_BROKER_URL");
        run(command).with_code(2).err
    };
    let right = "broker_url = 'sqlite:///nowhere/queue.db'\n[broker_transport_options]\n";
    fs::write(&file, format!("{right}synchronous = ['full', 'hunter2']")).unwrap();
    let err = refused(&["queues"]);
    assert!(err.contains("the option synchronous of sqlite:///nowhere/queue.db: it is a list"), "{err}");
    assert!(!err.contains("hunter2"), "{err}");
    fs::write(&file, format!("{right}sentinel_kwargs = {{ password = 'hunter2', user = 'x' }}")).unwrap();
    let err = refused(&["queues", "-b", "sentinel://localhost?master_name=main"]);
    assert!(err.contains("sentinel_kwargs has no entry \"user\"") && !err.contains("hunter2"), "{err}");
    fs::remove_file(&file).unwrap();
    let options = r#"broker_transport_options={"priority_steps": [0, 10]}"#;
    let err = refused(&["queues", "-b", "redis://localhost", "--set", options]);
    assert!(err.contains("the option priority_steps of redis://localhost: it is a list"), "{err}");
}

#[test]
fn a_call_whose_result_store_is_away_was_sent_all_the_same() {
    let sandbox = Sandbox::new();
    let away = format!("redis://127.0.0.1:{}/0", port::free());
    let call = ["--result-backend", &away, "call", "tasks.add", "--args", "[2, 2]", "--task-id", "sent", "--wait"];
    let output = sandbox.apium(&call).with_code(3);
    assert!(output.err.contains("task sent was sent all the same, and `result sent --watch` waits"), "{output:?}");
    let _worker = sandbox.worker(&[]);
    let result = sandbox.apium(&["result", "sent", "--watch", "--timeout", "60"]).with_code(0);
    assert!(result.out.contains('4'), "{result:?}");
}

#[test]
fn queues_of_a_broker_that_is_away_are_what_cannot_be_listed() {
    let away = format!("redis://127.0.0.1:{}/0", port::free());
    let output = Sandbox::new().apium(&["--broker", &away, "queues"]).with_code(3);
    assert!(output.err.contains(&away[8..23]) && !output.err.contains("pause"), "{output:?}");
}

#[test]
fn settings_that_name_almost_a_task_are_pointed_out() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path().join("apium.toml"), "task_annotations.\"tasks.addd\".priority = 3").unwrap();
    let mut worker = sandbox.worker(&[]);
    let line = worker.seen_or_wait("task_annotations", "tasks.addd");
    assert!(line.contains("WARN") && line.contains("did you mean tasks.add?"), "{line}");
}
