//! `cargo xtask interop`: only the tests with real Celery. With `--full` they run every workflow of the canvas, and
//! compare the recorded outcomes with Celery again. `cargo xtask test` runs a random selection.

use std::time::Instant;

use crate::commands::Answer;
use crate::test::counted;
use crate::{peers, process};

/// The environment variable that the tests read.
const FULL: &str = "APIUM_INTEROP_FULL";

/// Runs the tests. All other arguments go to them, so a name filters.
pub(crate) fn run(args: &[String]) -> Answer {
    let started = Instant::now();
    peers::ready::ensure()?;
    // The Rust worker of these tests is an example, which `cargo test --test` does not build.
    if !process::passes(process::cargo(&["build", "--package", "apium", "--example", "interop"])?)? {
        return Ok(false);
    }
    let mut command = process::cargo(&["test", "--package", "apium", "--test", "interop", "--", "--nocapture"])?;
    if args.iter().any(|arg| arg == "--full") {
        command.env(FULL, "1");
    }
    command.args(args.iter().filter(|arg| *arg != "--full"));
    counted(command, started)
}
