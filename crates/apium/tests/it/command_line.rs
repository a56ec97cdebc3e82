//! The command line, in several processes on one SQLite file.

use std::fs;
use std::net::TcpListener;
use std::time::Instant;

use apium_peers::http;
use apium_peers::target::example;
use serde_json::json;

use crate::program::{DEADLINE, ProgramOutput, Running, Sandbox, Stream, run};

#[test]
fn call_waits_and_prints_the_value_or_the_document() {
    let sandbox = Sandbox::new();
    let _worker = sandbox.worker(&[]);
    let output = sandbox.interop(&["call", "tasks.add", "--args", "[2, 2]", "--wait"]).with_code(0);
    assert_eq!(output.out, "4\n");
    let (document, code) = sandbox.call(&["tasks.add", "-a", "[2]", "-k", "{\"y\": 5}", "--task-id", "any text: ü"]);
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
    let sandbox = Sandbox::new();
    let _worker = sandbox.worker(&[]);
    let (document, code) = sandbox.call(&["tasks.fail", "--args", "[\"naïve 任务\"]"]);
    assert_eq!((code, &document["status"]), (1, &json!("FAILURE")));
    assert_eq!(
        document["result"],
        json!({ "exc_type": "ValueError", "exc_message": ["naïve 任务"], "exc_module": "builtins" })
    );
    let output = sandbox.interop(&["call", "tasks.fail", "--wait"]).with_code(1);
    assert!(output.out.is_empty() && output.err.contains("ValueError: boom"), "{output:?}");
}

#[test]
fn an_expired_task_is_revoked_with_exit_code_1() {
    let sandbox = Sandbox::new();
    let _worker = sandbox.worker(&[]);
    let (document, code) = sandbox.call(&["tasks.noop", "--countdown", "0.4", "--expires", "0.1"]);
    assert_eq!((code, &document["status"]), (1, &json!("REVOKED")));
    assert_eq!(document["result"]["exc_type"], "TaskRevokedError");
}

#[test]
fn json_is_utf8_on_stdout() {
    let sandbox = Sandbox::new();
    let _worker = sandbox.worker(&[]);
    let output =
        sandbox.interop(&["call", "tasks.identity", "--args", "[\"h\\u00e9 😀\"]", "--wait", "--json"]).with_code(0);
    assert!(output.out.contains("\"hé 😀\""), "{output:?}");
    assert_eq!(output.out.lines().count(), 1);
}

#[test]
fn numbers_keep_every_digit() {
    let sandbox = Sandbox::new();
    let _worker = sandbox.worker(&[]);
    for number in ["123456789012345678901234567890", "-0.0", "3.0", "9007199254740993"] {
        let output =
            sandbox.interop(&["call", "tasks.identity", "--args", &format!("[{number}]"), "--wait"]).with_code(0);
        assert_eq!(output.out.trim_end(), number);
    }
}

#[test]
fn call_sends_any_name_and_prints_its_id() {
    let sandbox = Sandbox::new();
    let output = sandbox.apium(&["call", "nobody.knows", "--queue", "other", "--task-id", "x-1"]).with_code(0);
    assert_eq!(output.out, "x-1\n");
    let json = sandbox.apium(&["call", "nobody.knows", "--queue", "other", "--json"]).with_code(0).json();
    assert_eq!(json["task_id"].as_str().map(str::len), Some(36));
    let queues = sandbox.apium(&["queues", "--json"]).with_code(0).json();
    let other = queues.as_array().unwrap().iter().find(|queue| queue["queue"] == "other").unwrap();
    assert_eq!(other["ready"], 2);
}

#[test]
fn the_result_of_an_unknown_id_is_pending_and_said_to_be_unknown_where_that_is_certain() {
    let sandbox = Sandbox::new();
    let output = sandbox.apium(&["result", "unknown", "--json"]).with_code(5);
    let document: serde_json::Value = serde_json::from_str(&output.out).unwrap();
    assert_eq!((&document["status"], &document["result"]), (&json!("PENDING"), &json!(null)));
    let unknown = sandbox.apium(&["result", "unknown"]).with_code(5);
    assert!(unknown.out.is_empty() && unknown.err.contains("no queue has its message"), "{unknown:?}");
    // A message that waits is found, and what may be hidden is not said to be unknown.
    sandbox.apium(&["call", "nobody.knows", "--task-id", "w-1"]).with_code(0);
    assert!(sandbox.apium(&["result", "w-1"]).with_code(0).out.contains("waiting in the queue celery"));
    sandbox.apium(&["result", "unknown"]).with_code(5);
    sandbox.apium(&["call", "nobody.knows", "--countdown", "3600"]).with_code(0);
    assert!(sandbox.apium(&["result", "unknown"]).with_code(0).out.starts_with("PENDING"));
    sandbox.apium(&["call", "tasks.noop", "--serializer", "yaml", "--task-id", "y-1"]).with_code(0);
    let mut worker = sandbox.worker(&["--set", "accept_content=json"]);
    worker.wait_for("y-1");
    assert!(sandbox.apium(&["result", "unknown", "--json"]).with_code(0).out.contains("PENDING"));
    worker.stop("TERM");
    assert!(sandbox.apium(&["result", "y-1"]).with_code(0).out.contains("in the dead set; `dead show"));
}

#[test]
fn result_reads_what_another_process_stored_and_watches_what_it_stores() {
    let sandbox = Sandbox::new();
    let mut worker = sandbox.worker(&["-l", "info"]);
    sandbox.interop(&["call", "tasks.add", "--args", "[1, 1]", "--task-id", "r-1", "--wait"]).with_code(0);
    let document = sandbox.apium(&["result", "r-1", "--json"]).with_code(0).json();
    assert_eq!((&document["status"], &document["result"]), (&json!("SUCCESS"), &json!(2)));

    sandbox.apium(&["call", "tasks.progress", "--args", "[2, 0.05]", "--task-id", "r-2"]).with_code(0);
    let watched = sandbox.apium(&["result", "r-2", "--watch", "--json"]).with_code(0);
    assert_eq!(watched.json()["status"], "SUCCESS");

    sandbox.apium(&["call", "tasks.fail", "--task-id", "r-3"]).with_code(0);
    worker.wait_for("r-3");
    sandbox.apium(&["result", "r-3", "--watch"]).with_code(1);
    let traceback = sandbox.apium(&["result", "r-3", "--traceback"]).with_code(0).out;
    assert!(traceback.lines().count() > 1 && traceback.contains("ValueError"), "{traceback}");
}

#[test]
fn a_wait_ends_at_its_timeout_with_exit_code_4() {
    let sandbox = Sandbox::new();
    let output = sandbox.interop(&["call", "tasks.add", "--args", "[1, 1]", "--wait", "--timeout", "0.2"]).with_code(4);
    assert!(output.err.contains("within 0.2 s") && output.err.contains("hint: it is not taken back"), "{output:?}");
}

#[test]
fn queues_shows_the_messages_and_purge_deletes_them() {
    let sandbox = Sandbox::new();
    for _ in 0..3 {
        sandbox.apium(&["call", "tasks.noop"]).with_code(0);
    }
    sandbox.apium(&["call", "tasks.noop", "--countdown", "3600"]).with_code(0);
    let queues = sandbox.apium(&["queues", "--json"]).with_code(0).json();
    assert_eq!(
        (&queues[0]["queue"], &queues[0]["ready"], &queues[0]["delayed"]),
        (&json!("celery"), &json!(3), &json!(1))
    );
    let table = sandbox.apium(&["queues"]).with_code(0).out;
    assert!(table.starts_with("queue") && table.contains("celery"), "{table}");

    let unconfirmed = sandbox.apium(&["purge"]).with_code(2);
    assert!(unconfirmed.err.contains("--force"), "{unconfirmed:?}");
    let purged = sandbox.apium(&["purge", "--force", "--json"]).with_code(0).json();
    assert_eq!(purged, json!({ "purged": 4, "queues": { "celery": 4 } }));
    assert_eq!(sandbox.apium(&["queues", "--json"]).json()[0]["ready"], 0);
}

#[test]
fn dead_letters_are_listed_shown_replayed_and_dropped() {
    let sandbox = Sandbox::new();
    let mut worker = sandbox.worker(&[]);
    sandbox.apium(&["call", "nobody.knows", "--task-id", "d-1", "--args", "[1]"]).with_code(0);
    sandbox.apium(&["call", "nobody.knows", "--task-id", "d-2"]).with_code(0);
    worker.wait_for("d-1");
    worker.wait_for("d-2");
    sandbox.interop(&["call", "tasks.noop", "--wait"]).with_code(0);
    worker.stop("TERM");

    let list = sandbox.apium(&["dead", "list", "--json"]).with_code(0).json();
    assert_eq!(list.as_array().map(Vec::len), Some(2), "{list}");
    let first = list.as_array().unwrap().iter().find(|dead_letter| dead_letter["task_id"] == "d-1").unwrap();
    assert_eq!(
        (&first["code"], &first["task"], &first["queue"]),
        (&json!("unknown-task"), &json!("nobody.knows"), &json!("celery"))
    );
    let key = first["key"].to_string();
    let shown = sandbox.apium(&["dead", "show", &key]).with_code(0).out;
    assert!(shown.contains("unknown-task") && shown.contains("[[1]"), "{shown}");

    assert_eq!(sandbox.apium(&["dead", "replay", &key]).with_code(0).out, "1 replayed\n");
    assert_eq!(sandbox.apium(&["queues", "--json"]).json()[0]["ready"], 1);
    assert_eq!(
        sandbox.apium(&["dead", "drop", "--all", "--force", "--json"]).with_code(0).json(),
        json!({ "dropped": 1 })
    );
    assert_eq!(sandbox.apium(&["dead", "list", "--json"]).with_code(0).json(), json!([]));
    let missing = sandbox.apium(&["dead", "show", "999"]).with_code(5);
    assert!(missing.err.contains("dead message 999"), "{missing:?}");
    sandbox.apium(&["dead", "drop", "--all"]).with_code(2);
}

#[test]
fn registered_lists_the_tasks_with_their_arguments() {
    let sandbox = Sandbox::new();
    let tasks = sandbox.interop(&["registered", "--json"]).with_code(0).json();
    let named = |name: &str| tasks.as_array().unwrap().iter().find(|task| task["name"] == name).cloned();
    assert_eq!(named("tasks.add").unwrap()["signature"], "x, y");
    assert_eq!(named("tasks.echo").unwrap()["signature"], "*args, **kwargs");
    assert!(sandbox.interop(&["registered"]).with_code(0).out.contains("tasks.soft"));
}

#[test]
fn the_stand_alone_binary_refuses_what_needs_task_code() {
    let sandbox = Sandbox::new();
    for command in ["worker", "registered"] {
        let output = sandbox.apium(&[command]).with_code(2);
        assert!(output.err.contains("apium::cli::main"), "{output:?}");
    }
    // Its worker runs Celery apps.
    assert!(sandbox.apium(&["worker"]).with_code(2).err.contains("-A"));
    let help = sandbox.apium(&["--help"]).with_code(0).out;
    assert!(!help.contains("\n  registered") && help.contains("Exit codes:"), "{help}");
    assert!(sandbox.interop(&["--help"]).with_code(0).out.contains("\n  worker"));
}

#[test]
fn report_and_the_start_of_a_worker_say_what_early_acknowledgement_costs() {
    let sandbox = Sandbox::new();
    let note = "acknowledged before the run, as in Celery, so what runs in a worker that is killed is lost";
    let change = "with task_acks_late = true it runs again elsewhere";
    let report = sandbox.interop(&["report", "--json"]).with_code(0).json();
    let shown = report["early acknowledgement"].as_str().unwrap().to_owned();
    assert!(shown.contains(note) && shown.contains(change), "{shown}");
    let log = sandbox.worker(&[]).stop("TERM").1.join("\n");
    assert_eq!(log.matches(&shown).count(), 1, "{log}");
    // Where somebody decided it, nobody needs to be told.
    for decided in ["task_acks_late=true", "task_acks_late=false"] {
        let report = sandbox.interop(&["report", "--json", "--set", decided]).with_code(0).json();
        assert_eq!(report["early acknowledgement"], json!(null), "{decided}");
        let log = sandbox.worker(&["--set", decided]).stop("TERM").1.join("\n");
        assert!(log.contains("is ready") && !log.contains(note), "{log}");
    }
}

#[test]
fn report_shows_addresses_and_settings_but_no_secret() {
    let sandbox = Sandbox::new();
    let report = sandbox.apium(&["report", "--json", "--set", "task_acks_late=true"]).with_code(0).json();
    assert!(report["broker"]["address"].as_str().unwrap().starts_with("sqlite://"), "{report}");
    assert_eq!(report["broker"]["priorities"], "larger first");
    assert!(report["settings that differ from the defaults"]["task_acks_late"].as_str().unwrap().contains("--set"));
    let report = sandbox.apium(&["report"]).with_code(0);
    assert!(report.out.contains("reachable") && report.out.contains("early acknowledgement: none"), "{report:?}");

    let secret = "redis://user:hunter2@nowhere.invalid/0?password=hunter2";
    for command in [&["report"][..], &["queues"], &["call", "x"], &["worker"], &["report", "--json"]] {
        for backend in [&["--result-backend", secret][..], &["-b", secret]] {
            let args: Vec<&str> = command.iter().chain(backend).copied().collect();
            let output = sandbox.interop(&args);
            assert!(!output.out.contains("hunter2") && !output.err.contains("hunter2"), "{output:?}");
            assert_ne!(output.code, 0, "no driver for redis is built in: {output:?}");
        }
    }
}

#[test]
fn what_others_wrote_sends_nothing_to_the_terminal_and_begins_no_line() {
    let sandbox = Sandbox::new();
    let mut worker = sandbox.worker(&[]);
    // Colors, a cleared screen, and the same by a character of Latin-1.
    let evil = r#"["\u001b[31mred\u001b[2J\u009b2J\nERROR forged"]"#;
    let assert_harmless = |output: &ProgramOutput| {
        for text in [&output.out, &output.err] {
            assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{output:?}");
            assert!(!text.lines().any(|line| line.starts_with("ERROR forged")), "{output:?}");
        }
    };
    let returned = sandbox.interop(&["call", "tasks.identity", "--args", evil, "--wait"]).with_code(0);
    assert_harmless(&returned);
    assert!(returned.out.contains(r"\u001b[31mred\u001b[2J\u009b2J\nERROR forged"), "{returned:?}");
    let failed = sandbox.interop(&["call", "tasks.fail", "--args", evil, "--task-id", "f-1", "--wait"]).with_code(1);
    assert_harmless(&failed);
    assert!(failed.err.contains(r"\u001b[31mred"), "{failed:?}");
    for args in [&["result", "f-1"][..], &["result", "f-1", "--json"]] {
        assert_harmless(&sandbox.apium(args).with_code(0));
    }
    // A traceback has lines of its own.
    let traceback = sandbox.apium(&["result", "f-1", "--traceback"]).with_code(0).out;
    assert!(traceback.lines().count() > 2 && !traceback.chars().any(|c| c.is_control() && c != '\n'), "{traceback}");
    let (task, id) = ("un\u{1b}[2Jknown\nERROR forged", "d\u{9b}31m-1\nERROR forged");
    assert_harmless(&sandbox.apium(&["call", task, "--task-id", id, "--args", evil]).with_code(0));
    worker.wait_for("31m-1");
    sandbox.interop(&["call", "tasks.noop", "--wait"]).with_code(0);
    let log = worker.stop("TERM").1;
    assert!(!log.iter().any(|line| line.contains('\u{1b}') || line.starts_with("ERROR forged")), "{log:?}");
    for args in
        [&["dead", "list"][..], &["dead", "list", "--json"], &["dead", "show", "1"], &["dead", "show", "1", "--json"]]
    {
        assert_harmless(&sandbox.apium(args).with_code(0));
    }
}

#[test]
fn a_line_of_the_log_names_the_task_once() {
    let sandbox = Sandbox::new();
    let worker = sandbox.worker(&["-l", "info"]);
    sandbox.interop(&["call", "tasks.add", "--args", "[1, 1]", "--task-id", "once-1", "--wait"]).with_code(0);
    let log = worker.stop("TERM").1;
    let lines: Vec<&String> = log.iter().filter(|line| line.contains("once-1")).collect();
    assert_eq!(lines.len(), 2, "{log:?}");
    for line in lines {
        assert_eq!((line.matches("once-1").count(), line.matches("tasks.add").count()), (1, 1), "{line}");
    }
}

#[test]
fn names_are_trimmed_and_an_empty_one_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.apium(&["call", "tasks.noop", "-Q", " qb "]).with_code(0);
    let purged = sandbox.apium(&["purge", "--force", "-Q", "qa, qb", "--json"]).with_code(0).json();
    assert_eq!(purged, json!({ "purged": 1, "queues": { "qa": 0, "qb": 1 } }));
    for args in [
        &["call", "tasks.noop", "-Q", ""][..],
        &["call", "tasks.noop", "--task-id", ""],
        &["call", "tasks.noop", "--set", "task_default_queue="],
        &["purge", "--force", "-Q", "qa,,qb"],
        &["result", ""],
    ] {
        let output = sandbox.apium(args).with_code(2);
        assert!(output.err.contains("empty") || output.err.contains("needs a name"), "{args:?}: {output:?}");
    }
    let output = sandbox.interop(&["worker", "-Q", "qa, "]).with_code(2);
    assert!(output.err.contains("empty"), "{output:?}");
}

#[test]
fn a_negative_number_is_a_value_and_not_an_option() {
    let sandbox = Sandbox::new();
    for args in [
        &["call", "x", "--priority", "-1"][..],
        &["call", "x", "--time-limit", "-1"],
        &["call", "x", "--wait", "--timeout", "-1"],
        &["result", "x", "--watch", "--timeout", "-1"],
    ] {
        let output = sandbox.apium(args).with_code(2);
        assert!(output.err.contains("invalid value '-1'"), "{args:?}: {output:?}");
    }
}

#[test]
fn a_priority_is_a_word_or_a_number() {
    let sandbox = Sandbox::new();
    for priority in ["urgent", "background", "0", "255"] {
        sandbox.apium(&["call", "tasks.noop", "--priority", priority]).with_code(0);
    }
    for priority in ["high", "256", ""] {
        let output = sandbox.apium(&["call", "tasks.noop", "--priority", priority]).with_code(2);
        assert!(output.err.contains("urgent, background, or a number from 0 to 255"), "{output:?}");
    }
}

#[test]
fn a_task_may_wait_until_pythons_last_instant() {
    let sandbox = Sandbox::new();
    let never = "9999-12-31T23:59:59.999999+00:00";
    sandbox.apium(&["call", "tasks.noop", "--eta", never]).with_code(0);
    sandbox.apium(&["call", "tasks.noop", "--expires", never]).with_code(0);
    let queues = sandbox.apium(&["queues", "--json"]).with_code(0).json();
    assert_eq!((&queues[0]["ready"], &queues[0]["delayed"]), (&json!(1), &json!(1)));
}

#[test]
fn hints_help_and_addresses_are_shown_whole() {
    let sandbox = Sandbox::new();
    let setting = sandbox.apium(&["queues", "--set", "task_acks_late=perhaps"]).with_code(2);
    assert!(setting.err.contains("allowed is true or false") && !setting.err.contains("report"), "{setting:?}");
    let celerys = sandbox.apium(&["queues", "--set", "broker_use_ssl=true"]).with_code(2);
    assert!(celerys.err.contains("it is Celery's") && celerys.err.contains("rediss://"), "{celerys:?}");
    let colon = sandbox.apium(&["queues", "-b", "redis//localhost"]).with_code(2);
    assert!(colon.err.contains("redis://localhost:6379/0"), "{colon:?}");
    let missing = sandbox.apium(&["queues", "-b", "rediss://127.0.0.1:1/0?ssl_ca_certs=/nowhere/ca.pem"]);
    assert!(missing.err.contains("/nowhere/ca.pem") && !missing.err.contains("give an address"), "{missing:?}");
    let list = "sentinel://:hunter2@127.0.0.1:1;sentinel://:hunter2@127.0.0.2:1?master_name=main";
    let report = sandbox.apium(&["report", "-b", list]);
    assert!(report.out.contains("127.0.0.1:1;") && report.out.contains("127.0.0.2:1"), "{report:?}");
    assert!(!report.out.contains("hunter2") && !report.err.contains("hunter2"), "{report:?}");
}

#[test]
fn later_sources_of_a_setting_override_earlier_ones() {
    let sandbox = Sandbox::new();
    let queue_of = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = sandbox.command(std::path::Path::new(env!("CARGO_BIN_EXE_apium")), args);
        command.args(["report", "--json"]).envs(variables.iter().copied());
        let report = crate::program::run(command).with_code(0).json();
        report["settings that differ from the defaults"]["task_default_queue"].as_str().unwrap().to_owned()
    };
    fs::write(sandbox.path().join("apium.toml"), "task_default_queue = \"of_the_file\"").unwrap();
    fs::write(sandbox.path().join("other.toml"), "task_default_queue = \"of_another\"").unwrap();
    assert!(queue_of(&[], &[]).starts_with("of_the_file "));
    assert!(queue_of(&["--config", "other.toml"], &[]).starts_with("of_another "));
    let variable = [("APIUM_TASK_DEFAULT_QUEUE", "of_the_variable")];
    assert!(queue_of(&[], &variable).starts_with("of_the_variable "));
    assert!(queue_of(&["--set", "task_default_queue=of_the_option"], &variable).starts_with("of_the_option "));
}

#[test]
fn usage_errors_are_one_line_with_a_hint_and_exit_code_2() {
    let sandbox = Sandbox::new();
    for (args, part) in [
        (&["call", "x", "--args", "{}"][..], "--args as a JSON array"),
        (&["call", "x", "--args", "[1,"], "--args as a JSON array"),
        (&["call", "x", "--kwargs", "[]"], "--kwargs as a JSON object"),
        (&["call", "x", "--set", "task_acks_late"], "there is no `=`"),
        (&["queues", "--config", "nowhere.toml"], "nowhere.toml"),
        (&["queues", "-l", "loud=="], "log level"),
    ] {
        let output = sandbox.apium(args).with_code(2);
        assert!(output.err.starts_with("error: could not ") && output.err.contains(part), "{args:?}: {output:?}");
        assert!(output.err.lines().count() <= 2 && output.out.is_empty(), "{args:?}: {output:?}");
    }
    let near = sandbox.apium(&["qeues"]).with_code(2);
    assert!(near.err.contains("queues"), "{near:?}");
    let near = sandbox.apium(&["call", "x", "--countdwn", "3"]).with_code(2);
    assert!(near.err.contains("--countdown"), "{near:?}");
    let bad = sandbox.apium(&["call", "x", "--eta", "tomorrow"]).with_code(2);
    assert!(bad.err.contains("2026-12-01T08:00:00Z"), "{bad:?}");
}

#[test]
fn the_settings_reference_has_every_setting_once() {
    let sandbox = Sandbox::new();
    let page = sandbox.apium(&["settings"]).with_code(0).out;
    assert!(page.starts_with("# Settings"), "{page}");
    assert_eq!(page.matches("| `task_acks_late` |").count(), 1);
}

#[test]
fn probes_show_whether_a_worker_is_ready() {
    let sandbox = Sandbox::new();
    let file = sandbox.path().join("ready");
    let wait_until = |there: bool| {
        let began = Instant::now();
        while file.exists() != there {
            assert!(began.elapsed() < DEADLINE, "the ready file is wanted: {there}");
            std::thread::yield_now();
        }
    };
    let options = ["--ready-file", "ready", "--health-listen", "127.0.0.1:0", "--prefetch-multiplier", "auto"];
    let mut worker = sandbox.worker(&options);
    wait_until(true);
    let line = worker.seen_or_wait("health probes", "http://");
    let address = line.rsplit("http://").next().unwrap().split_whitespace().next().unwrap();
    for (path, status) in [("/ready", 200), ("/live", 200), ("/", 404)] {
        let answer = http::ask(address, "GET", path, "");
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
    assert_eq!(sandbox.call(&["tasks.add", "-a", "[1, 2]"]).0["result"], json!(3));
    assert_eq!(worker.stop("TERM").0, 0);
    assert!(!file.exists());

    // The ready file of a killed worker is removed by the next one.
    let worker = sandbox.worker(&options);
    wait_until(true);
    worker.kill();
    assert!(file.exists());
    let in_use = TcpListener::bind("127.0.0.1:0").unwrap();
    let in_use = in_use.local_addr().unwrap().to_string();
    let output = sandbox.interop(&["worker", "--ready-file", "ready", "--health-listen", &in_use]).with_code(2);
    assert!(output.err.contains(&in_use) && output.err.contains("worker_health_listen"), "{output:?}");
    assert!(!file.exists());
}

#[test]
fn options_for_probes_and_prefetch_are_checked() {
    let sandbox = Sandbox::new();
    for (args, part) in [
        (["--health-listen", "localhost"], "127.0.0.1:8081"),
        (["--ready-file", "nowhere/ready"], "nowhere"),
        (["--prefetch-multiplier", "many"], "\"auto\""),
    ] {
        let output = sandbox.interop(&["worker", args[0], args[1]]).with_code(2);
        assert!(output.err.starts_with("error: could not ") && output.err.contains(part), "{args:?}: {output:?}");
    }
}

/// Runs the example `own_commands`, a program with commands of its own.
fn own_commands(sandbox: &Sandbox, args: &[&str]) -> ProgramOutput {
    run(sandbox.command(&example("own_commands"), args))
}

#[test]
fn a_command_of_the_program_has_the_app_and_the_global_options() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path().join("users.txt"), "ada\ngrace\n").unwrap();
    let import = ["import-users", "--file", "users.txt"];
    let output = own_commands(&sandbox, &import).with_code(0);
    assert!(output.out.starts_with("ada is greeted by ") && output.out.lines().count() == 2, "{output:?}");
    assert!(output.err.is_empty(), "{output:?}");
    let sent = own_commands(&sandbox, &[&import[..], &["--json", "--set", "task_default_queue=other"]].concat());
    assert_eq!(sent.with_code(0).json()["user"], "grace");
    let queues = own_commands(&sandbox, &["queues", "--json"]).with_code(0).json();
    let ready = |name: &str| {
        queues.as_array().unwrap().iter().find(|queue| queue["queue"] == name).map(|queue| queue["ready"].clone())
    };
    assert_eq!((ready("celery"), ready("other")), (Some(json!(2)), Some(json!(2))), "{queues}");
}

#[test]
fn commands_for_workers_of_the_program_are_listed_and_called() {
    let sandbox = Sandbox::new();
    let list = |kind: &str| own_commands(&sandbox, &[kind, "--list"]).with_code(0).out;
    let row = |list: &str| list.lines().any(|row| row.starts_with("  greeting ") && row.ends_with("a user is greeted"));
    assert!(row(&list("inspect")) && list("inspect").lines().skip(1).is_sorted(), "{}", list("inspect"));
    assert!(!row(&list("control")) && !row(&sandbox.apium(&["inspect", "--list"]).out), "{}", list("control"));
    let wrong = own_commands(&sandbox, &["control", "greeting", "name=ada"]).with_code(2);
    assert!(wrong.err.contains("use `inspect greeting`"), "{wrong:?}");
    let mut worker = Running::start(sandbox.command(&example("own_commands"), &["worker", "-n", "w1@h"]), Stream::Err);
    worker.wait_for("ready");
    let ask = |name: &str| own_commands(&sandbox, &["inspect", "greeting", name, "-d", "w1@h", "-t", "30", "--json"]);
    assert_eq!(ask("name=ada").with_code(0).json(), json!({ "w1@h": "hello ada" }));
    assert!(ask("other=ada").with_code(0).out.contains("`name` is missing"));
}

#[test]
fn help_lists_the_commands_of_the_program_and_the_built_in_ones() {
    let sandbox = Sandbox::new();
    let help = own_commands(&sandbox, &["--help"]).with_code(0).out;
    assert!(help.contains("import-users") && help.contains("Send a greeting to every user of a file"), "{help}");
    assert!(help.contains("Run a worker until it is stopped"), "{help}");
    let own = own_commands(&sandbox, &["help", "import-users"]).with_code(0).out;
    assert!(own.contains("--most <MOST>") && own.contains("--broker <URL>"), "{own}");
}

#[test]
fn a_command_of_the_program_fails_like_a_built_in_one() {
    let sandbox = Sandbox::new();
    let missing = own_commands(&sandbox, &["import-users", "--file", "nobody.txt"]).with_code(70);
    assert!(missing.err.starts_with("error: could not run import-users: nobody.txt: "), "{missing:?}");
    assert_eq!(missing.err.lines().count(), 1, "{missing:?}");
    fs::write(sandbox.path().join("users.txt"), "ada\ngrace\n").unwrap();
    let import = ["import-users", "--file", "users.txt"];
    let many = own_commands(&sandbox, &[&import[..], &["--most", "1"]].concat()).with_code(9);
    assert!(many.err.contains("there are 2 users"), "{many:?}");
    let setting = own_commands(&sandbox, &[&import[..], &["--set", "task_serialiser=json"]].concat()).with_code(2);
    assert!(setting.err.contains("task_serializer"), "{setting:?}");
    own_commands(&sandbox, &["import-users", "--users", "x"]).with_code(2);
    let broken = Sandbox::new();
    fs::create_dir(broken.file()).unwrap();
    let output = own_commands(&broken, &import).with_code(3);
    assert!(output.err.contains("queue.db"), "{output:?}");
}

#[test]
fn the_worker_of_the_command_line_has_the_layers_of_the_app() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path().join("users.txt"), "ada\n").unwrap();
    own_commands(&sandbox, &["import-users", "--file", "users.txt"]).with_code(0);
    let worker = sandbox.command(&example("own_commands"), &["worker", "-c", "1"]);
    let mut worker = Running::start(worker, Stream::Out);
    worker.wait_for("users.greet succeeded");
    assert_eq!(worker.stop("TERM").0, 0);
}

/// Runs `apium` on a broker in memory, where nobody listens.
fn alone(args: &[&str]) -> ProgramOutput {
    let sandbox = Sandbox::new();
    sandbox.apium(&[&["-b", "memory://"], args].concat())
}

#[test]
fn commands_to_workers_end_with_69_when_nobody_replies() {
    let asked: [&[&str]; 6] = [
        &["status", "-t", "0.05"],
        &["inspect", "active", "--timeout", "0.05", "-j"],
        &["inspect", "own_question", "a=1", "-t", "0.05"],
        &["control", "revoke", "some-id", "-t", "0.05"],
        &["control", "rate_limit", "tasks.add", "5/m", "-d", "w1@h,w2@h", "-t", "0.05"],
        &["control", "pause_queue", "mail", "too", "slow", "-t", "0.05"],
    ];
    for args in asked {
        let output = alone(args).with_code(69);
        assert!(output.out.is_empty() && output.err.contains("replied within 0.05 s"), "{args:?} {output:?}");
        assert_eq!(output.err.contains("none of w1@h, w2@h"), args.contains(&"-d"), "{output:?}");
    }
    alone(&["control", "shutdown"]).with_code(0);
}

#[test]
fn commands_to_workers_are_listed_and_wrong_ones_say_what_is_wrong() {
    let list = alone(&["inspect", "--list"]).with_code(0).out;
    assert!(list.starts_with("Inspect Commands:\n") && list.contains("  query_task [id1"), "{list}");
    let list = alone(&["control", "--list"]).with_code(0).out;
    assert!(list.contains("  rate_limit <task_name> <rate_limit") && list.contains("pause_queue"), "{list}");
    let wrong: [(&[&str], &str); 8] = [
        (&["inspect"], "no command is named"),
        (&["control", "rate_limit", "tasks.add"], "arguments are missing"),
        (&["control", "active"], "use `inspect active`"),
        (&["control", "revoke"], "no task is named"),
        (&["control", "revoke_by_stamped_headers", "x"], "no header=value"),
        (&["inspect", "ping", "-d", "a@h,"], "destination is empty"),
        (&["list", "bindings"], "cannot say them"),
        (&["top"], "no terminal"),
    ];
    for (args, text) in wrong {
        let output = alone(args).with_code(2);
        assert!(output.err.contains(text), "{args:?} {output:?}");
    }
    let events = alone(&["events", "--dump", "--limit", "0"]).with_code(0);
    assert_eq!(events.out, "-> evdump: starting capture...\n");
}
