//! `cargo xtask test`: every test of the workspace, the first words of those that failed, and the total as the last
//! line.
//!
//! It first installs what the tests need, where it is missing (`cargo xtask peers` does only that).
//! `cargo test --workspace` builds and runs unit tests, integration tests and doc tests. It also builds the examples,
//! which the tests find in the target directory. The rules of `cargo xtask tidy` and the check of the generated pages
//! are tests of this crate, so they are counted, too.
//!
//! Most tests wait for servers, workers and clocks rather than compute. So there are two at once for each processor,
//! unless `RUST_TEST_THREADS` says otherwise.

use std::num::NonZero;
use std::process::Command;
use std::thread::available_parallelism;
use std::time::Instant;

use crate::commands::Answer;
use crate::libtest::Total;
use crate::{output, peers, process};

/// How many tests of a binary run at once.
const THREADS: &str = "RUST_TEST_THREADS";

/// Runs the tests. `args` are passed to `cargo test`, so a name filters and `-p` chooses a crate.
pub(crate) fn run(args: &[String]) -> Answer {
    let started = Instant::now();
    peers::ready::ensure()?;
    let mut command = process::cargo(&["test", "--no-fail-fast"])?;
    let chooses = |arg: &String| arg.starts_with("-p") || arg.starts_with("--package");
    if !args.iter().any(chooses) {
        command.arg("--workspace");
    }
    command.args(args);
    counted(command, started)
}

/// Runs a `cargo test`, prints its output, and then the total.
pub(crate) fn counted(mut command: Command, started: Instant) -> Answer {
    let mut total = Total::default();
    if std::env::var_os(THREADS).is_none() {
        command.env(THREADS, (2 * available_parallelism().map_or(1, NonZero::get)).to_string());
    }
    let passed = process::stream(command, &mut |line| {
        output::line(line);
        total.read(line);
    })?;
    output::line("");
    for line in total.finish(started.elapsed()) {
        output::line(&line);
    }
    Ok(passed && total.is_good())
}
