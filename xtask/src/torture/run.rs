//! The command: which fault test is run, and how large.

use crate::commands::Answer;
use crate::torture::{canvas, redis};
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
        ["canvas"] => {
            peers::ready::ensure()?;
            canvas::table()
        }
        ["redis", "--full", named @ ..] if are_names(named) => on_redis("full", named),
        ["redis", named @ ..] if are_names(named) => on_redis("usual", named),
        _ => {
            let all = "`torture sqlite [--full] [NAME …]`, `torture redis [--full] [NAME …]` or `torture canvas`";
            Err(format!("read the arguments: use {all}"))
        }
    }
}

/// Whether none of these is an option. The program knows which guarantees there are.
fn are_names(args: &[&str]) -> bool {
    args.iter().all(|arg| !arg.starts_with('-'))
}

fn sqlite(kills: &str, named: &[&str]) -> Answer {
    let program = ["run", "--release", "--package", "apium-harness", "--bin", "torture_sqlite", "--", kills];
    let program: Vec<&str> = program.iter().chain(named).copied().collect();
    process::passes(process::cargo(&program)?)
}

fn on_redis(size: &str, named: &[&str]) -> Answer {
    peers::ready::ensure()?;
    let program = ["run", "--release", "--package", "apium-harness", "--bin", "torture_redis", "--", size];
    let program: Vec<&str> = program.iter().chain(named).copied().collect();
    redis::table(process::cargo(&program)?, size, named.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_driver_is_refused() {
        assert!(run(&["other".to_owned()]).is_err());
        assert!(run(&["redis".to_owned(), "--half".to_owned()]).is_err());
        assert!(run(&[]).is_err());
    }
}
