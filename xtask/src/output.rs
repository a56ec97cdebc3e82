//! The one file that prints.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program talks to its user here and nowhere else"
)]

/// Prints a line of the answer.
pub(crate) fn line(text: &str) {
    println!("{text}");
}

/// Announces a step.
pub(crate) fn step(text: &str) {
    println!("==> {text}");
}

/// Says what could not be done.
pub(crate) fn error(text: &str) {
    eprintln!("error: could not {text}");
}
