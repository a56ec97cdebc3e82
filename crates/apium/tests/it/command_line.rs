//! The command line, across processes, on one SQLite file.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use serde_json::json;

use crate::program::{DEADLINE, Place};

#[test]
fn call_waits_and_prints_the_value_or_the_document() {
    let place = Place::new();
    let _worker = place.worker(&[]);
    let ended = place.interop(&["call", "tasks.add", "--args", "[2, 2]", "--wait"]).with_code(0);
    assert_eq!(ended.out, "4\n");
    let (document, code) = place.call(&["tasks.add", "-a", "[2]", "-k", "{\"y\": 5}", "--task-id", "any text: ü"]);
    assert_eq!(code, 0);
    assert_eq!(
        (&document["status"], &document["result"], &document["task_id"]),
        (&json!("SUCCESS"), &json!(7), &json!("any text: ü"))
    );
    for key in ["traceback", "children", "date_done"] {
        assert!(document.get(key).is_some(), "{document}");
    }
}

#[test]
fn a_failed_task_is_a_document_too_with_exit_code_1() {
    let place = Place::new();
    let _worker = place.worker(&[]);
    let (document, code) = place.call(&["tasks.fail", "--args", "[\"naïve 任务\"]"]);
    assert_eq!((code, &document["status"]), (1, &json!("FAILURE")));
    assert_eq!(
        document["result"],
        json!({ "exc_type": "ValueError", "exc_message": ["naïve 任务"], "exc_module": "builtins" })
    );
    let ended = place.interop(&["call", "tasks.fail", "--wait"]).with_code(1);
    assert!(ended.out.is_empty() && ended.err.contains("ValueError: boom"), "{ended:?}");
}

#[test]
fn an_expired_task_is_revoked_with_exit_code_1() {
    let place = Place::new();
    let _worker = place.worker(&[]);
    let (document, code) = place.call(&["tasks.noop", "--countdown", "0.4", "--expires", "0.1"]);
    assert_eq!((code, &document["status"]), (1, &json!("REVOKED")));
    assert_eq!(document["result"]["exc_type"], "TaskRevokedError");
}

#[test]
fn json_is_utf8_on_stdout() {
    let place = Place::new();
    let _worker = place.worker(&[]);
    let ended =
        place.interop(&["call", "tasks.identity", "--args", "[\"h\\u00e9 😀\"]", "--wait", "--json"]).with_code(0);
    assert!(ended.out.contains("\"hé 😀\""), "{ended:?}");
    assert_eq!(ended.out.lines().count(), 1);
}

#[test]
fn numbers_keep_every_digit() {
    let place = Place::new();
    let _worker = place.worker(&[]);
    for number in ["123456789012345678901234567890", "-0.0", "3.0", "9007199254740993"] {
        let ended = place.interop(&["call", "tasks.identity", "--args", &format!("[{number}]"), "--wait"]).with_code(0);
        assert_eq!(ended.out.trim_end(), number);
    }
}

#[test]
fn call_sends_any_name_and_prints_its_id() {
    let place = Place::new();
    let ended = place.apium(&["call", "nobody.knows", "--queue", "other", "--task-id", "x-1"]).with_code(0);
    assert_eq!(ended.out, "x-1\n");
    let json = place.apium(&["call", "nobody.knows", "--queue", "other", "--json"]).with_code(0).json();
    assert_eq!(json["task_id"].as_str().map(str::len), Some(36));
    let queues = place.apium(&["queues", "--json"]).with_code(0).json();
    let other = queues.as_array().unwrap().iter().find(|queue| queue["queue"] == "other").unwrap();
    assert_eq!(other["ready"], 2);
}

#[test]
fn the_result_of_an_unknown_id_is_pending() {
    let place = Place::new();
    let document = place.apium(&["result", "unknown", "--json"]).with_code(0).json();
    assert_eq!((&document["status"], &document["result"]), (&json!("PENDING"), &json!(null)));
    assert!(place.apium(&["result", "unknown"]).with_code(0).out.starts_with("PENDING"));
}

#[test]
fn result_reads_what_another_process_stored_and_watches_what_it_stores() {
    let place = Place::new();
    let mut worker = place.worker(&["-l", "info"]);
    place.interop(&["call", "tasks.add", "--args", "[1, 1]", "--task-id", "r-1", "--wait"]).with_code(0);
    let document = place.apium(&["result", "r-1", "--json"]).with_code(0).json();
    assert_eq!((&document["status"], &document["result"]), (&json!("SUCCESS"), &json!(2)));

    place.apium(&["call", "tasks.progress", "--args", "[2, 0.05]", "--task-id", "r-2"]).with_code(0);
    let watched = place.apium(&["result", "r-2", "--watch", "--json"]).with_code(0);
    assert_eq!(watched.json()["status"], "SUCCESS");

    place.apium(&["call", "tasks.fail", "--task-id", "r-3"]).with_code(0);
    worker.wait_for("r-3");
    place.apium(&["result", "r-3", "--watch"]).with_code(1);
    let traceback = place.apium(&["result", "r-3", "--traceback"]).with_code(0).out;
    assert!(traceback.lines().count() > 1 && traceback.contains("ValueError"), "{traceback}");
}

#[test]
fn a_wait_ends_at_its_timeout_with_exit_code_4() {
    let place = Place::new();
    let ended = place.interop(&["call", "tasks.add", "--args", "[1, 1]", "--wait", "--timeout", "0.2"]).with_code(4);
    assert!(ended.err.contains("within 0.2 s") && ended.err.contains("hint: the task goes on"), "{ended:?}");
}

#[test]
fn queues_shows_what_waits_and_purge_deletes_it() {
    let place = Place::new();
    for _ in 0..3 {
        place.apium(&["call", "tasks.noop"]).with_code(0);
    }
    place.apium(&["call", "tasks.noop", "--countdown", "3600"]).with_code(0);
    let queues = place.apium(&["queues", "--json"]).with_code(0).json();
    assert_eq!(
        (&queues[0]["queue"], &queues[0]["ready"], &queues[0]["parked"]),
        (&json!("celery"), &json!(3), &json!(1))
    );
    let table = place.apium(&["queues"]).with_code(0).out;
    assert!(table.starts_with("queue") && table.contains("celery"), "{table}");

    let unsure = place.apium(&["purge"]).with_code(2);
    assert!(unsure.err.contains("--force"), "{unsure:?}");
    let purged = place.apium(&["purge", "--force", "--json"]).with_code(0).json();
    assert_eq!(purged, json!({ "purged": 4, "queues": { "celery": 4 } }));
    assert_eq!(place.apium(&["queues", "--json"]).json()[0]["ready"], 0);
}

#[test]
fn dead_messages_are_listed_shown_replayed_and_dropped() {
    let place = Place::new();
    let mut worker = place.worker(&[]);
    place.apium(&["call", "nobody.knows", "--task-id", "d-1", "--args", "[1]"]).with_code(0);
    place.apium(&["call", "nobody.knows", "--task-id", "d-2"]).with_code(0);
    worker.wait_for("d-1");
    worker.wait_for("d-2");
    place.interop(&["call", "tasks.noop", "--wait"]).with_code(0);
    worker.stop("TERM");

    let list = place.apium(&["dead", "list", "--json"]).with_code(0).json();
    assert_eq!(list.as_array().map(Vec::len), Some(2), "{list}");
    let first = list.as_array().unwrap().iter().find(|letter| letter["task_id"] == "d-1").unwrap();
    assert_eq!(
        (&first["code"], &first["task"], &first["queue"]),
        (&json!("unknown-task"), &json!("nobody.knows"), &json!("celery"))
    );
    let key = first["key"].to_string();
    let shown = place.apium(&["dead", "show", &key]).with_code(0).out;
    assert!(shown.contains("unknown-task") && shown.contains("[[1]"), "{shown}");

    assert_eq!(place.apium(&["dead", "replay", &key]).with_code(0).out, "1 replayed\n");
    assert_eq!(place.apium(&["queues", "--json"]).json()[0]["ready"], 1);
    assert_eq!(
        place.apium(&["dead", "drop", "--all", "--force", "--json"]).with_code(0).json(),
        json!({ "dropped": 1 })
    );
    assert_eq!(place.apium(&["dead", "list", "--json"]).with_code(0).json(), json!([]));
    let missing = place.apium(&["dead", "show", "999"]).with_code(5);
    assert!(missing.err.contains("dead message 999"), "{missing:?}");
    place.apium(&["dead", "drop", "--all"]).with_code(2);
}

#[test]
fn registered_lists_the_tasks_with_their_arguments() {
    let place = Place::new();
    let tasks = place.interop(&["registered", "--json"]).with_code(0).json();
    let named = |name: &str| tasks.as_array().unwrap().iter().find(|task| task["name"] == name).cloned();
    assert_eq!(named("tasks.add").unwrap()["signature"], "x, y");
    assert_eq!(named("tasks.echo").unwrap()["signature"], "*args, **kwargs");
    assert!(place.interop(&["registered"]).with_code(0).out.contains("tasks.soft"));
}

#[test]
fn the_stand_alone_binary_refuses_what_needs_task_code() {
    let place = Place::new();
    for command in ["worker", "registered"] {
        let ended = place.apium(&[command]).with_code(2);
        assert!(ended.err.contains("apium::cli::main"), "{ended:?}");
    }
    let help = place.apium(&["--help"]).with_code(0).out;
    assert!(!help.contains("\n  worker") && help.contains("Exit codes:"), "{help}");
    assert!(place.interop(&["--help"]).with_code(0).out.contains("\n  worker"));
}

#[test]
fn report_shows_addresses_and_settings_but_no_secret() {
    let place = Place::new();
    let report = place.apium(&["report", "--json", "--set", "task_acks_late=true"]).with_code(0).json();
    assert!(report["broker"]["address"].as_str().unwrap().starts_with("sqlite://"), "{report}");
    assert_eq!(report["broker"]["priorities"], "larger first");
    assert!(report["settings that differ from the defaults"]["task_acks_late"].as_str().unwrap().contains("--set"));
    assert!(place.apium(&["report"]).with_code(0).out.contains("reachable"));

    let secret = "redis://user:hunter2@nowhere.invalid/0?password=hunter2";
    for command in [&["report"][..], &["queues"], &["call", "x"], &["worker"], &["report", "--json"]] {
        for backend in [&["--result-backend", secret][..], &["-b", secret]] {
            let args: Vec<&str> = command.iter().chain(backend).copied().collect();
            let ended = place.interop(&args);
            assert!(!ended.out.contains("hunter2") && !ended.err.contains("hunter2"), "{ended:?}");
            assert_ne!(ended.code, 0, "no driver knows redis here: {ended:?}");
        }
    }
}

#[test]
fn later_sources_of_a_setting_beat_earlier_ones() {
    let place = Place::new();
    let queue_of = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = place.command(std::path::Path::new(env!("CARGO_BIN_EXE_apium")), args);
        command.args(["report", "--json"]).envs(variables.iter().copied());
        let report = crate::program::run(command).with_code(0).json();
        report["settings that differ from the defaults"]["task_default_queue"].as_str().unwrap().to_owned()
    };
    fs::write(place.path().join("apium.toml"), "task_default_queue = \"of_the_file\"").unwrap();
    fs::write(place.path().join("other.toml"), "task_default_queue = \"of_another\"").unwrap();
    assert!(queue_of(&[], &[]).starts_with("of_the_file "));
    assert!(queue_of(&["--config", "other.toml"], &[]).starts_with("of_another "));
    let variable = [("APIUM_TASK_DEFAULT_QUEUE", "of_the_variable")];
    assert!(queue_of(&[], &variable).starts_with("of_the_variable "));
    assert!(queue_of(&["--set", "task_default_queue=of_the_option"], &variable).starts_with("of_the_option "));
}

#[test]
fn usage_errors_are_one_line_with_a_hint_and_exit_code_2() {
    let place = Place::new();
    for (args, part) in [
        (&["call", "x", "--args", "{}"][..], "--args as a JSON array"),
        (&["call", "x", "--args", "[1,"], "--args as a JSON array"),
        (&["call", "x", "--kwargs", "[]"], "--kwargs as a JSON object"),
        (&["call", "x", "--set", "task_acks_late"], "there is no `=`"),
        (&["queues", "--config", "nowhere.toml"], "nowhere.toml"),
        (&["queues", "-l", "loud=="], "log level"),
    ] {
        let ended = place.apium(args).with_code(2);
        assert!(ended.err.starts_with("error: could not ") && ended.err.contains(part), "{args:?}: {ended:?}");
        assert!(ended.err.lines().count() <= 2 && ended.out.is_empty(), "{args:?}: {ended:?}");
    }
    let near = place.apium(&["qeues"]).with_code(2);
    assert!(near.err.contains("queues"), "{near:?}");
    let near = place.apium(&["call", "x", "--countdwn", "3"]).with_code(2);
    assert!(near.err.contains("--countdown"), "{near:?}");
    let bad = place.apium(&["call", "x", "--eta", "tomorrow"]).with_code(2);
    assert!(bad.err.contains("2026-12-01T08:00:00Z"), "{bad:?}");
}

#[test]
fn the_settings_reference_has_every_setting_once() {
    let place = Place::new();
    let page = place.apium(&["settings"]).with_code(0).out;
    assert!(page.starts_with("# Settings"), "{page}");
    assert_eq!(page.matches("| `task_acks_late` |").count(), 1);
}

#[test]
fn probes_see_a_worker_come_and_go() {
    let place = Place::new();
    let file = place.path().join("ready");
    let until = |there: bool| {
        let began = Instant::now();
        while file.exists() != there {
            assert!(began.elapsed() < DEADLINE, "the ready file is wanted: {there}");
            std::thread::yield_now();
        }
    };
    let options = ["--ready-file", "ready", "--health-listen", "127.0.0.1:0", "--prefetch-multiplier", "auto"];
    let mut worker = place.worker(&options);
    until(true);
    let line = worker.seen_or_wait("health probes", "http://");
    let address = line.rsplit("http://").next().unwrap().split_whitespace().next().unwrap();
    for (path, status) in [("/ready", "200"), ("/live", "200"), ("/", "404")] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
    }
    assert_eq!(place.call(&["tasks.add", "-a", "[1, 2]"]).0["result"], json!(3));
    assert_eq!(worker.stop("TERM").0, 0);
    assert!(!file.exists());

    // What a killed worker leaves is not believed by the next one.
    let worker = place.worker(&options);
    until(true);
    worker.kill();
    assert!(file.exists());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let ended = place.interop(&["worker", "--ready-file", "ready", "--health-listen", &taken]).with_code(2);
    assert!(ended.err.contains(&taken) && ended.err.contains("worker_health_listen"), "{ended:?}");
    assert!(!file.exists());
}

#[test]
fn options_for_probes_and_prefetch_are_checked() {
    let place = Place::new();
    for (args, part) in [
        (["--health-listen", "localhost"], "127.0.0.1:8081"),
        (["--ready-file", "nowhere/ready"], "nowhere"),
        (["--prefetch-multiplier", "many"], "\"auto\""),
    ] {
        let ended = place.interop(&["worker", args[0], args[1]]).with_code(2);
        assert!(ended.err.starts_with("error: could not ") && ended.err.contains(part), "{args:?}: {ended:?}");
    }
}
