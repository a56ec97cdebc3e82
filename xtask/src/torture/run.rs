//! The command: which fault test is run, and how large.

use std::process::Command;

use crate::commands::Answer;
use crate::torture::canvas;
use crate::torture::guarantees::{self, PROCESSES, Page, RABBITMQ, REDIS};
use crate::{peers, process};

/// Kills of workers of the embedded driver in one run.
const KILLS: &str = "200";

/// The same for `--full`.
const KILLS_IN_FULL: &str = "1000";

/// Runs the fault test that is named first. It prints its outcome, and fails when a guarantee was not kept.
pub(crate) fn run(args: &[String]) -> Answer {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["sqlite", "--full", named @ ..] if are_names(named) => sqlite(KILLS_IN_FULL, named),
        ["sqlite", named @ ..] if are_names(named) => sqlite(KILLS, named),
        ["memory", "--full", named @ ..] if are_names(named) => memory("full", named),
        ["memory", named @ ..] if are_names(named) => memory("usual", named),
        ["canvas"] => {
            peers::ready::ensure()?;
            canvas::table()
        }
        ["redis", "--full", named @ ..] if are_names(named) => on_server(&REDIS, "torture_redis", "full", named),
        ["redis", named @ ..] if are_names(named) => on_server(&REDIS, "torture_redis", "usual", named),
        ["amqp", "--full", named @ ..] if are_names(named) => on_server(&RABBITMQ, "torture_amqp", "full", named),
        ["amqp", named @ ..] if are_names(named) => on_server(&RABBITMQ, "torture_amqp", "usual", named),
        ["processes", "--full", named @ ..] if are_names(named) => {
            on_server(&PROCESSES, "torture_processes", "full", named)
        }
        ["processes", named @ ..] if are_names(named) => on_server(&PROCESSES, "torture_processes", "usual", named),
        _ => {
            let all = "`torture memory`, `sqlite`, `redis`, `amqp` or `processes`, each with `[--full] [NAME …]`, or `torture canvas`";
            Err(format!("read the arguments: use {all}"))
        }
    }
}

/// Whether none of these is an option. The program knows which guarantees there are.
fn are_names(args: &[&str]) -> bool {
    args.iter().all(|arg| !arg.starts_with('-'))
}

fn memory(size: &str, named: &[&str]) -> Answer {
    process::passes(program("torture_memory", size, named)?)
}

fn sqlite(kills: &str, named: &[&str]) -> Answer {
    process::passes(program("torture_sqlite", kills, named)?)
}

fn on_server(page: &Page, binary: &str, size: &str, named: &[&str]) -> Answer {
    peers::ready::ensure()?;
    guarantees::table(page, program(binary, size, named)?, size, named.is_empty())
}

/// A program of the harness with its size, and the tests that are named.
fn program(name: &str, size: &str, named: &[&str]) -> Result<Command, String> {
    let program = ["run", "--release", "--package", "apium-harness", "--bin", name, "--", size];
    process::cargo(&program.iter().chain(named).copied().collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_driver_is_refused() {
        assert!(run(&["other".to_owned()]).is_err());
        assert!(run(&["redis".to_owned(), "--half".to_owned()]).is_err());
        assert!(run(&["amqp".to_owned(), "--half".to_owned()]).is_err());
        assert!(run(&[]).is_err());
    }
}
