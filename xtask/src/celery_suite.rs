//! `cargo xtask celery-suite`: Celery's own integration tests, with a worker of Apium. A part of them, or with `--full`
//! all; each with Celery's worker, with a worker of Apium in its place, and with both on one queue.

use crate::commands::Answer;
use crate::{peers, process};

/// The package with the worker and the program that runs the tests.
const PACKAGE: &str = "apium-celery-suite";

/// Runs the tests. All arguments go to the program: `--full`, columns such as `--python`, and words of names.
pub(crate) fn run(args: &[String]) -> Answer {
    peers::ready::ensure()?;
    // The worker is a program of its own, which `cargo run` does not build.
    if !process::passes(process::cargo(&["build", "--package", PACKAGE, "--bins"])?)? {
        return Ok(false);
    }
    let mut command = process::cargo(&["run", "--quiet", "--package", PACKAGE, "--bin", "celery_suite", "--"])?;
    command.args(args);
    process::passes(command)
}
