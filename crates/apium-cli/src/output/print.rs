//! What a command prints on stdout: lines, JSON and tables. Logs and errors go to stderr.

use std::io::{self, Write};

use crate::exit::{Code, CommandError, Result};

/// Prints one line.
pub(crate) fn line(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    finish(writeln!(out, "{text}").and_then(|()| out.flush()))
}

/// Prints a value as one line of JSON.
pub(crate) fn json(value: &serde_json::Value) -> Result<()> {
    line(&value.to_string())
}

/// Prints rows under headings, columns as wide as their widest cell. Columns named in `right` are aligned to the right.
pub(crate) fn table(headings: &[&str], right: &[usize], rows: &[Vec<String>]) -> Result<()> {
    let mut out = io::stdout().lock();
    finish(render(headings, right, rows).lines().try_for_each(|row| writeln!(out, "{row}")))
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
