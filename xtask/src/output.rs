//! The only file that prints.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the output of a command line program is printed here and nowhere else"
)]

/// Prints a line.
pub(crate) fn line(text: &str) {
    println!("{text}");
}

/// Announces a step.
pub(crate) fn step(text: &str) {
    println!("==> {text}");
}

/// Prints what could not be done.
pub(crate) fn error(text: &str) {
    eprintln!("error: could not {text}");
}
