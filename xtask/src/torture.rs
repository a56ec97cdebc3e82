//! `cargo xtask torture`: fault tests that take too long for every run of the tests, which run a tenth of them.

use crate::commands::Answer;
use crate::process;

/// Kills of worker processes in one run.
const KILLS: &str = "200";

/// The same for `--full`.
const KILLS_IN_FULL: &str = "1000";

/// Runs the fault test of the driver named first; the program says what came out, and fails when anything was lost.
pub(crate) fn run(args: &[String]) -> Answer {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let kills = match args.as_slice() {
        ["sqlite"] => KILLS,
        ["sqlite", "--full"] => KILLS_IN_FULL,
        _ => return Err("read the arguments: there is `torture sqlite` and `torture sqlite --full`".to_owned()),
    };
    let program = ["run", "--release", "--package", "apium-harness", "--bin", "torture_sqlite", "--", kills];
    process::passes(process::cargo(&program)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_driver_is_refused() {
        assert!(run(&["other".to_owned()]).is_err());
        assert!(run(&[]).is_err());
    }
}
