//! What the programs print: one JSON line for each figure, which `cargo xtask` reads.

use std::io::Write as _;

use serde_json::json;

/// Prints one figure of the measure `name`.
pub fn figure(name: &str, value: f64, unit: &str) {
    line(&json!({"measure": name, "value": value, "unit": unit}).to_string());
}

/// Prints a line and flushes it, so that the reader of a pipe sees it at once.
pub fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that has gone is no reason to stop measuring.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
