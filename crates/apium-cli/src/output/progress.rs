//! Progress bars, on a terminal only.

use std::io::{self, IsTerminal};

use apium_protocol::value::printable::printable;
use indicatif::{ProgressBar, ProgressStyle};

/// Fewer steps than this are not worth a bar.
const WORTH_SHOWING: usize = 3;

/// A bar of `length` steps; hidden unless stderr is a terminal.
pub(crate) fn bar(length: usize, what: &'static str) -> ProgressBar {
    if length < WORTH_SHOWING || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length as u64).with_style(style).with_message(what)
}

/// A spinner with a text, for a wait of unknown length; hidden unless stderr is a terminal.
pub(crate) fn spinner(text: String) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner().with_message(printable(text).to_string());
    spinner.enable_steady_tick(std::time::Duration::from_millis(100));
    spinner
}
