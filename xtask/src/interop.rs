//! `cargo xtask interop`: the tests with real Celery alone; `--full` goes through every flow of the canvas, and asks Celery itself
//! again what it makes of each, where `cargo xtask test` draws some and goes by what is written down.

use std::time::Instant;

use crate::commands::Answer;
use crate::test::counted;
use crate::{peers, process};

/// The variable that the tests look at.
const FULL: &str = "APIUM_INTEROP_FULL";

/// Runs them; what else is in `args` goes to the tests, so a name filters.
pub(crate) fn run(args: &[String]) -> Answer {
    let started = Instant::now();
    peers::ready::ensure()?;
    let mut command = process::cargo(&["test", "--package", "apium", "--test", "interop", "--", "--nocapture"])?;
    if args.iter().any(|arg| arg == "--full") {
        command.env(FULL, "1");
    }
    command.args(args.iter().filter(|arg| *arg != "--full"));
    counted(command, started)
}
