//! What a program here prints: one JSON line for each figure, read by `cargo xtask`.

use std::io::Write as _;

use serde_json::json;

/// Prints one figure of the measure `name`.
pub fn figure(name: &str, value: f64, unit: &str) {
    line(&json!({"measure": name, "value": value, "unit": unit}).to_string());
}

/// Prints a line at once, so that whoever reads the pipe sees it.
pub fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that went away is no reason to stop measuring.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
