//! What a command prints on stdout: lines, JSON and tables. Logs and errors go to stderr.
//!
//! Most of it came in messages and results, so anybody may have written it. Here, and nowhere else, it is made
//! [`printable`]: it stays on its line and sends nothing to the terminal. JSON stays the same JSON.

use std::io::{self, Write};

use apium_protocol::value::printable::printable;

use crate::exit::{Code, CommandError, Result};

/// Prints one line.
pub(crate) fn line(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    finish(writeln!(out, "{}", printable(text)).and_then(|()| out.flush()))
}

/// Prints one line, and says whether anybody reads it.
pub(crate) fn line_is_read(text: &str) -> Result<bool> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{}", printable(text)).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => finish(written).map(|()| true),
    }
}

/// Prints a text of several lines, such as a traceback.
pub(crate) fn lines(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    finish(text.lines().try_for_each(|line| writeln!(out, "{}", printable(line))).and_then(|()| out.flush()))
}

/// Prints a value as one line of JSON.
pub(crate) fn json(value: &serde_json::Value) -> Result<()> {
    line(&value.to_string())
}

/// Prints rows under headings, columns as wide as their widest cell. Columns named in `right` are aligned to the right.
pub(crate) fn table(headings: &[&str], right: &[usize], rows: &[Vec<String>]) -> Result<()> {
    let cells = |row: &Vec<String>| row.iter().map(|cell| printable(cell).to_string()).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    lines(&render(headings, right, &rows))
}

fn render(headings: &[&str], right: &[usize], rows: &[Vec<String>]) -> String {
    let width = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = headings.iter().map(|heading| width(heading)).collect();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            widths[column] = widths[column].max(width(cell));
        }
    }
    let mut text = String::new();
    let head: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let mut written = String::new();
        for (column, cell) in row.iter().enumerate() {
            let gap = " ".repeat(widths[column] - width(cell));
            let padded = if right.contains(&column) { format!("{gap}{cell}") } else { format!("{cell}{gap}") };
            written.push_str(&padded);
            written.push_str("  ");
        }
        text.push_str(written.trim_end());
        text.push('\n');
    }
    text
}

/// A reader that stops reading (`| head`) is no error.
fn finish(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::new(Code::Other, format!("write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["celery".into(), "12".into()], vec!["é".into(), "3".into()]];
        assert_eq!(render(&["queue", "n"], &[1], &rows), "queue    n\ncelery  12\né        3\n");
    }
}
