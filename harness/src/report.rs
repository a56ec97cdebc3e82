//! What a program here prints: one JSON line for each figure, read by `cargo xtask`.
#![expect(clippy::print_stdout, reason = "figures go to standard output, and nowhere else in this crate")]

use std::io::Write as _;

use serde_json::json;

/// Prints one figure of the measure `name`.
pub fn figure(name: &str, value: f64, unit: &str) {
    line(&json!({"measure": name, "value": value, "unit": unit}).to_string());
}

/// Prints a line at once, so that whoever reads the pipe sees it.
pub fn line(text: &str) {
    println!("{text}");
    // A reader that went away is no reason to stop measuring.
    let _ = std::io::stdout().flush();
}
