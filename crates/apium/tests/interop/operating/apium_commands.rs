//! Apium's command line and the workers of both sides: it prints of a Python worker what it prints of a Rust worker,
//! and what Celery's own command line prints of either.

use std::process::Command;
use std::time::Duration;

use apium_peers::guarded::Guarded;
use apium_peers::target::example;
use serde_json::{Value, json};

use crate::kit::deployment::Deployment;
use crate::kit::numbers::without_numbers;
use crate::kit::side::Side;
use crate::operating::commands::{Printed, busy, controls, inspections, operate, shape, without_ids};

/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Apium's command line with the broker of a deployment.
pub(super) fn apium<'a>(deployment: &Deployment, words: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(example("interop"));
    command.args(words).current_dir("/");
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("APIUM_") || name == "RUST_LOG" {
            command.env_remove(&*name);
        }
    }
    command.env("APIUM_BROKER_URL", &deployment.broker).env("APIUM_RESULT_BACKEND", &deployment.database.url);
    command
}

/// Runs the same commands as [`operate`], with Apium's command line.
fn operate_with_apium(deployment: &Deployment, commands: &Value) -> Vec<Printed> {
    let run = |words: &Value| {
        let given: Vec<&str> = words.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        let mut running = Guarded::start(&apium(deployment, given), None).unwrap();
        let status = running.wait(LIMIT).unwrap_or_else(|| panic!("{words} does not end: {}", running.log().text()));
        let code = status.code().unwrap().into();
        Printed { words: words.to_string(), code, output: running.log().text() }
    };
    commands.as_array().unwrap().iter().map(run).collect()
}

/// The same commands without `--json`.
fn as_text(commands: &Value) -> Value {
    let words = |command: &Value| {
        let mut words = command.as_array().unwrap().clone();
        words.retain(|word| word != "--json");
        Value::Array(words)
    };
    commands.as_array().unwrap().iter().map(words).collect()
}

on_every_broker! {
    async fn every_inspection_says_the_same_of_both_workers(broker: Broker) {
        let ((rust, rust_ids), (python, python_ids)) =
            (busy(broker, Side::Rust).await, busy(broker, Side::Python).await);
        let ours = operate_with_apium(&rust, &inspections(&rust_ids));
        let theirs = operate_with_apium(&python, &inspections(&python_ids));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!((ours.code, theirs.code), (0, 0), "{ours:?}\n{theirs:?}");
            assert_eq!(shape(ours, &rust_ids), shape(theirs, &python_ids), "{ours:?}\n{theirs:?}");
        }
    }

    async fn every_inspection_prints_what_celerys_command_line_prints(broker: Broker) {
        for side in Side::BOTH {
            let (deployment, ids) = busy(broker, side).await;
            for commands in [inspections(&ids), as_text(&inspections(&ids))] {
                let ours = operate_with_apium(&deployment, &commands);
                let theirs = operate(&deployment, &commands);
                for (ours, theirs) in ours.iter().zip(&theirs) {
                    let read = |printed: &Printed| (printed.code, without_numbers(printed.output.trim_end()));
                    assert_eq!(read(ours), read(theirs), "{side:?} {}", ours.words);
                }
            }
        }
    }

    async fn every_control_command_prints_the_same_of_both_workers_and_by_both_command_lines(broker: Broker) {
        let ((rust, rust_ids), (python, python_ids)) =
            (busy(broker, Side::Rust).await, busy(broker, Side::Python).await);
        let (again, again_ids) = busy(broker, Side::Python).await;
        let of_rust = operate_with_apium(&rust, &controls(&rust_ids));
        let of_python = operate_with_apium(&python, &controls(&python_ids));
        let by_celery = operate(&again, &controls(&again_ids));
        for ((of_rust, of_python), by_celery) in of_rust.iter().zip(&of_python).zip(&by_celery) {
            let read = |printed: &Printed, ids: &[String]| (printed.code, without_ids(printed.output.trim_end(), ids));
            assert_eq!(read(of_python, &python_ids), read(by_celery, &again_ids), "{}", of_python.words);
            assert_eq!(read(of_rust, &rust_ids), read(of_python, &python_ids), "{}", of_rust.words);
        }
    }

    async fn status_and_the_lack_of_an_answer_are_those_of_celery(broker: Broker) {
        let commands = json!([
            ["status", "-t", "5", "-d", "one@peer"],
            ["status", "-t", "5", "-d", "one@peer", "--json"],
            ["inspect", "ping", "-t", "1", "-d", "nobody@peer"],
            ["control", "rate_limit", "-t", "1", "-d", "nobody@peer", "tasks.add", "1/s"],
        ]);
        for side in Side::BOTH {
            let deployment = Deployment::start_on(broker, side, |setup| setup);
            let ours = operate_with_apium(&deployment, &commands);
            let theirs = operate(&deployment, &commands);
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert_eq!(ours.code, theirs.code, "{ours:?}\n{theirs:?}");
                // With `--json` Celery prints the count of nodes behind the JSON, and not JSON alone.
                let theirs = match ours.words.contains("--json") {
                    true => theirs.output.lines().next().unwrap(),
                    false => theirs.output.trim_end(),
                };
                if ours.code == 0 {
                    assert_eq!(ours.output.trim_end(), theirs, "{}", ours.words);
                }
            }
            assert!(ours[0].output.contains("->  one@peer: OK") && ours[2].code == 69, "{ours:?}");
            // It has no answer, and ends the worker.
            let stopped = operate_with_apium(&deployment, &json!([["control", "shutdown", "-d", "one@peer"]]));
            assert_eq!(stopped[0].code, 0, "{stopped:?}");
            let ping = json!([["inspect", "ping", "-t", "1", "-d", "one@peer"]]);
            let is_gone = || operate_with_apium(&deployment, &ping)[0].code == 69;
            assert!((0..30).any(|_| is_gone()), "{side:?}: it still answers");
        }
    }
}
