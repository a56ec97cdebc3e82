//! Bad input: what a foreign producer, a broken disk or a mistaken hand can do, and what becomes of it.

use std::fs;

use apium::driver::{Address, Clock, Driver, DriverOptions, Outgoing};
use apium::message::{Headers, Message, Properties};
use bytes::Bytes;
use serde_json::json;

use crate::program::{Place, Running};

/// Puts a message on the queue `celery`, as a foreign producer that may write anything does.
fn publish(place: &Place, id: &str, change: impl FnOnce(&mut Message)) {
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
            driver.broker(Address::parse(&place.url()).unwrap(), DriverOptions::new(Clock::system())).await.unwrap();
        broker.declare(&apium::config::Topology::new(vec!["celery".into()])).await.unwrap();
        broker.publish(vec![Outgoing::to_queue("celery", message)]).await.unwrap();
        broker.close().await.unwrap();
    });
}

/// The dead message with this id, once the worker has said that it saw it and a later task has run.
fn dead(place: &Place, worker: &mut Running, id: &str) -> serde_json::Value {
    worker.wait_for(id);
    assert_eq!(place.call(&["tasks.add", "-a", "[1, 1]"]).0["result"], 2, "the worker goes on");
    let list = place.apium(&["dead", "list", "--json"]).with_code(0).json();
    let letters = list.as_array().unwrap();
    letters.iter().find(|letter| letter["task_id"] == id).cloned().unwrap_or_else(|| panic!("{id} is not in {list}"))
}

#[test]
fn bad_input_wrong_arguments_fail_as_in_python() {
    let place = Place::new();
    let _worker = place.worker(&[]);
    for (args, kwargs, text) in [
        ("[1]", "{}", "add() missing 1 required positional argument: 'y'"),
        ("[1, 2, 3]", "{}", "add() takes 2 positional arguments but 3 were given"),
        ("[1, 2]", "{\"z\": 3}", "add() got an unexpected keyword argument 'z'"),
        ("[1, 2]", "{\"x\": 3}", "add() got multiple values for argument 'x'"),
    ] {
        let (document, code) = place.call(&["tasks.add", "-a", args, "-k", kwargs]);
        assert_eq!((code, &document["status"]), (1, &json!("FAILURE")), "{document}");
        assert_eq!(
            document["result"],
            json!({ "exc_type": "TypeError", "exc_message": [text], "exc_module": "builtins" })
        );
        assert_kept(&place, &document, text);
    }
}

/// The message of a failed call lies in the dead set, with the reason.
fn assert_kept(place: &Place, document: &serde_json::Value, text: &str) {
    let list = place.apium(&["dead", "list", "--json"]).with_code(0).json();
    let letter = list.as_array().unwrap().iter().find(|letter| letter["task_id"] == document["task_id"]);
    let letter = letter.unwrap_or_else(|| panic!("{document} is not in {list}"));
    assert_eq!(letter["code"], "arguments");
    assert!(letter["reason"].as_str().unwrap().contains(text), "{letter}");
}

#[test]
fn bad_input_wrong_arguments_are_kept_with_late_ack_too() {
    let place = Place::new();
    let _worker = place.worker(&[]);
    let (document, code) = place.call(&["tasks.late_sleep", "-a", "[1, 2]"]);
    assert_eq!((code, &document["result"]["exc_type"]), (1, &json!("TypeError")), "{document}");
    assert_kept(&place, &document, "late_sleep() takes from 0 to 1 positional arguments but 2 were given");
}

#[test]
fn bad_input_an_argument_of_the_wrong_type_is_named() {
    let place = Place::new();
    let _worker = place.worker(&[]);
    let (document, code) = place.call(&["tasks.xsum", "-a", "[\"no list\"]"]);
    assert_eq!((code, &document["result"]["exc_type"]), (1, &json!("TypeError")), "{document}");
    assert!(document["result"]["exc_message"][0].as_str().unwrap().contains("numbers"), "{document}");
    assert_kept(&place, &document, "numbers");
}

#[test]
fn bad_input_an_unknown_task_is_kept_and_fails() {
    let place = Place::new();
    let mut worker = place.worker(&[]);
    publish(&place, "unknown-1", |message| message.headers.task = Some("tasks.nobody_knows".into()));
    assert_eq!(dead(&place, &mut worker, "unknown-1")["code"], "unknown-task");
    let document = place.apium(&["result", "unknown-1", "--json"]).json();
    assert_eq!((&document["status"], &document["result"]["exc_type"]), (&json!("FAILURE"), &json!("NotRegistered")));
}

#[test]
fn bad_input_a_content_type_that_is_not_accepted_is_kept() {
    let place = Place::new();
    let mut worker = place.worker(&[]);
    publish(&place, "pickle-1", |message| {
        message.properties.content_type = Some("application/x-python-serialize".into());
        message.properties.content_encoding = Some("binary".into());
    });
    assert_eq!(dead(&place, &mut worker, "pickle-1")["code"], "content-type");
    assert_eq!(place.apium(&["result", "pickle-1", "--json"]).json()["status"], "PENDING");
    place.interop(&["call", "tasks.noop", "--serializer", "msgpack", "--task-id", "msgpack-1"]).with_code(0);
    assert_eq!(dead(&place, &mut worker, "msgpack-1")["code"], "content-type");
}

#[test]
fn bad_input_broken_compression_is_kept() {
    let place = Place::new();
    let mut worker = place.worker(&[]);
    publish(&place, "packed-1", |message| {
        message.headers.compression = Some("application/x-gzip".into());
        message.body = Bytes::from_static(b"this was never packed");
    });
    assert_eq!(dead(&place, &mut worker, "packed-1")["code"], "undecodable");
}

#[test]
fn bad_input_truncated_json_is_kept_with_its_bytes_and_can_be_replayed() {
    let place = Place::new();
    let mut worker = place.worker(&[]);
    publish(&place, "cut-1", |message| message.body = Bytes::from_static(b"[[2, 2], {}, {\"callb"));
    let letter = dead(&place, &mut worker, "cut-1");
    assert_eq!(letter["code"], "undecodable");
    let key = letter["key"].to_string();
    let shown = place.apium(&["dead", "show", &key]).with_code(0).out;
    assert!(shown.contains("[[2, 2], {}, {\"callb"), "{shown}");
    place.apium(&["dead", "replay", &key]).with_code(0);
    assert_eq!(dead(&place, &mut worker, "cut-1")["code"], "undecodable", "it comes back");
}

#[test]
fn bad_input_ten_megabytes_of_arguments_come_back_whole() {
    let place = Place::new();
    let _worker = place.worker(&[]);
    let text = "x".repeat(10 << 20);
    publish(&place, "large-1", |message| {
        message.headers.task = Some("tasks.identity".into());
        message.body = format!("[[\"{text}\"], {{}}, {{}}]").into();
    });
    let document = place.apium(&["result", "large-1", "--watch", "--json", "--timeout", "60"]).with_code(0).json();
    assert_eq!(document["result"].as_str().map(str::len), Some(text.len()));
}

#[test]
fn bad_input_a_corrupt_file_is_named() {
    let place = Place::new();
    fs::write(place.file(), b"this is no database, and it is long enough to be looked at as one".repeat(100)).unwrap();
    for command in [&["queues"][..], &["call", "x"], &["result", "x"]] {
        let ended = place.apium(command).with_code(3);
        assert!(ended.err.contains("queue.db") && ended.err.lines().count() == 2, "{ended:?}");
    }
    place.interop(&["worker"]).with_code(3);
}

#[test]
fn bad_input_a_read_only_file_is_named() {
    let place = Place::new();
    place.apium(&["call", "x"]).with_code(0);
    let mut rights = fs::metadata(place.file()).unwrap().permissions();
    rights.set_readonly(true);
    fs::set_permissions(place.file(), rights).unwrap();
    if fs::OpenOptions::new().write(true).open(place.file()).is_ok() {
        // The superuser writes whatever the rights say; a folder cannot be written as a file by anyone.
        fs::remove_file(place.file()).unwrap();
        fs::create_dir(place.file()).unwrap();
    }
    let ended = place.apium(&["call", "x"]).with_code(3);
    assert!(ended.err.contains("queue.db"), "{ended:?}");
}

#[test]
fn bad_input_a_second_worker_of_the_same_name_warns_in_both_logs() {
    let place = Place::new();
    let mut first = place.worker(&["-n", "twin@here"]);
    let mut second = place.worker(&["-n", "twin@here"]);
    assert!(second.seen_or_wait("twin@here", "another").contains("twin@here"));
    assert!(first.seen_or_wait("twin@here", "another").contains("twin@here"));
    assert_eq!(place.call(&["tasks.add", "-a", "[1, 1]"]).0["result"], 2, "it is no refusal");
}

#[test]
fn bad_input_the_name_of_a_killed_worker_is_free_at_once() {
    let place = Place::new();
    place.worker(&["-n", "twin@here"]).kill();
    let second = place.worker(&["-n", "twin@here"]);
    assert_eq!(place.call(&["tasks.add", "-a", "[1, 1]"]).0["result"], 2);
    let (_, lines) = second.stop("TERM");
    assert!(!lines.iter().any(|line| line.contains("another")), "{lines:#?}");
}

#[test]
fn bad_input_a_soft_limit_above_the_hard_one_is_refused() {
    let place = Place::new();
    let call = place.interop(&["call", "tasks.add", "--time-limit", "1", "--soft-time-limit", "2"]).with_code(2);
    assert!(call.err.contains("soft"), "{call:?}");
    let worker = place.interop(&["worker", "--time-limit", "1", "--soft-time-limit", "2"]).with_code(2);
    assert!(worker.err.contains("task_soft_time_limit"), "{worker:?}");
}

#[test]
fn bad_input_a_rate_limit_without_sense_is_refused() {
    let place = Place::new();
    let ended = place.interop(&["worker", "--set", "task_default_rate_limit=10/x"]).with_code(2);
    assert!(ended.err.contains("10/x") && ended.err.contains("task_default_rate_limit"), "{ended:?}");
}

#[test]
fn bad_input_an_unknown_setting_names_the_nearest() {
    let place = Place::new();
    let option = place.apium(&["queues", "--set", "task_serialiser=json"]).with_code(2);
    assert!(option.err.contains("task_serializer"), "{option:?}");
    fs::write(place.path().join("apium.toml"), "worker_prefetch_multiplyer = 1").unwrap();
    let file = place.apium(&["queues"]).with_code(2);
    assert!(file.err.contains("worker_prefetch_multiplier") && file.err.contains("apium.toml"), "{file:?}");
}

#[test]
fn bad_input_the_result_of_an_unknown_id_is_pending() {
    let place = Place::new();
    let document = place.apium(&["result", "nobody", "--json"]).with_code(0).json();
    assert_eq!((&document["status"], &document["result"]), (&json!("PENDING"), &json!(null)));
}
