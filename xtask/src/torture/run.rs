//! The command: which program breaks which driver, and how much.

use crate::commands::Answer;
use crate::torture::{canvas, promises};
use crate::{peers, process};

/// Kills of workers of the embedded driver in one run.
const KILLS: &str = "200";

/// The same for `--full`.
const KILLS_IN_FULL: &str = "1000";

/// Runs the fault test of the driver named first; the program says what came out, and fails when anything was lost.
pub(crate) fn run(args: &[String]) -> Answer {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["sqlite"] => sqlite(KILLS),
        ["sqlite", "--full"] => sqlite(KILLS_IN_FULL),
        ["canvas"] => {
            peers::ready::ensure()?;
            canvas::table()
        }
        ["redis", "--full", named @ ..] => redis("full", named),
        ["redis", named @ ..] if named.iter().all(|name| name.starts_with('P')) => redis("usual", named),
        _ => {
            let all = "`torture sqlite [--full]`, `torture redis [--full] [P1 …]` and `torture canvas`";
            Err(format!("read the arguments: there is {all}"))
        }
    }
}

fn sqlite(kills: &str) -> Answer {
    let program = ["run", "--release", "--package", "apium-harness", "--bin", "torture_sqlite", "--", kills];
    process::passes(process::cargo(&program)?)
}

fn redis(size: &str, named: &[&str]) -> Answer {
    peers::ready::ensure()?;
    let program = ["run", "--release", "--package", "apium-harness", "--bin", "torture_redis", "--", size];
    let program: Vec<&str> = program.iter().chain(named).copied().collect();
    promises::table(process::cargo(&program)?, size, named.is_empty())
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
