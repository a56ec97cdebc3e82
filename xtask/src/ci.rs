//! `cargo xtask ci`: all checks that a change must pass, the quickest first. `.ci/run` runs the same from a shell.

use crate::commands::Answer;
use crate::{features, process, test};

/// Runs every check and stops at the first that fails.
pub(crate) fn run(_args: &[String]) -> Answer {
    let format = process::cargo(&["fmt", "--all", "--check"])?;
    let clippy = process::cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    let mut docs = process::cargo(&["doc", "--workspace", "--no-deps"])?;
    docs.env("RUSTDOCFLAGS", "-D warnings");
    let compiles = process::passes(format)? && process::passes(clippy)? && process::passes(docs)?;
    Ok(compiles && features::run(&[])? && test::run(&[])?)
}
