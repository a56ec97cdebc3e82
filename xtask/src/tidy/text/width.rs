//! The width of prose: comments, documentation and documents are wrapped. rustfmt wraps the code.

use crate::files::File;
use crate::tidy::finding::Finding;
use crate::tidy::layers::Layers;
use crate::tidy::source::rust::Source;

/// Checks the comments of a source. A table is one row a line.
pub(crate) fn check(layers: &Layers, source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (i, (line, comment)) in source.file().text.lines().zip(source.comments().lines()).enumerate() {
        let comment = comment.trim_start();
        let text = comment.trim_start_matches(['/', '!', '*']).trim_start();
        let is_table = text.starts_with('|');
        // Behind code a comment can be moved to a line of its own.
        let shares_its_line = line.trim_start().len() > comment.len();
        if !text.is_empty() && !is_table && (shares_its_line || can_be_broken(line, text, layers.width)) {
            findings.extend(finding(layers, source.path(), i, line));
        }
    }
    findings
}

/// Checks a document: all but tables, blocks of code, and pages that the project's own commands write.
pub(crate) fn check_document(layers: &Layers, file: &File) -> Vec<Finding> {
    if is_generated(file) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut in_code = false;
    for (i, line) in file.text.lines().enumerate() {
        let text = line.trim_start();
        if text.starts_with("```") {
            in_code = !in_code;
        } else if !in_code && !text.starts_with('|') && can_be_broken(line, text, layers.width) {
            findings.extend(finding(layers, &file.path, i, line));
        }
    }
    findings
}

/// Whether a page says near its top that a command makes it.
fn is_generated(file: &File) -> bool {
    file.path.starts_with("docs/") && file.text.lines().take(10).any(|line| line.contains("ade by `cargo xtask "))
}

/// Whether `line`, which ends with `text`, can be broken at `width`. It cannot where its first word fills it, and
/// neither can the definition of a link.
fn can_be_broken(line: &str, text: &str, width: usize) -> bool {
    let opens = |word: &&str| matches!(*word, "-" | "*") || (word.starts_with('[') && word.ends_with("]:"));
    let indent = line.chars().count() - text.chars().count();
    let first = text.split_whitespace().find(|word| !opens(word));
    first.is_some_and(|word| indent + word.chars().count() <= width)
}

/// The breach of a line that is too long.
fn finding(layers: &Layers, path: &str, i: usize, line: &str) -> Option<Finding> {
    let columns = line.chars().count();
    let text = format!("{columns} columns of prose; {} are the most: wrap it", layers.width);
    (columns > layers.width).then(|| Finding::at(path, i + 1, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that are found where a line may have 20 columns.
    fn lines(path: &str, text: &str) -> Vec<usize> {
        let layers = Layers::of_test("");
        let file = File { path: path.to_owned(), text: text.to_owned() };
        let found = match path.ends_with(".rs") {
            true => check(&layers, &Source::new(&file)),
            false => check_document(&layers, &file),
        };
        found.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_long_comment_is_found_and_long_code_is_not() {
        assert_eq!(lines("a.rs", "/// twenty columns.\n    // one column more.\n"), [2]);
        assert_eq!(lines("a.rs", "call(argument); // what it does\n"), [1]);
        assert!(lines("a.rs", "call(argument, another, \"// a text\");\n/// | a | table | is free |\n").is_empty());
    }

    #[test]
    fn columns_are_letters() {
        assert!(lines("a.rs", "/// äöüäöü äöüäöüäöü\n").is_empty());
    }

    #[test]
    fn a_long_line_of_a_document_is_found_outside_of_tables_and_code() {
        assert_eq!(lines("a.md", "a line of twenty-one.\n"), [1]);
        assert!(lines("a.md", "| a | table | is | free |\n```text\nand so is what is code\n```\n").is_empty());
        assert_eq!(lines("a.md", "```text\n```\na line of twenty-one.\n"), [3]);
    }

    #[test]
    fn what_cannot_be_broken_is_free() {
        assert!(lines("a.md", "- [a](https://example.org/long)\n[a]: https://example.org/long\n").is_empty());
        assert!(lines("a.rs", "/// <https://example.org/long>\n").is_empty());
        assert_eq!(lines("a.md", "see [a](https://example.org/long)\n"), [1]);
    }

    #[test]
    fn a_page_that_a_command_makes_is_free() {
        let page = "# Page\n\nMade by `cargo xtask docs` from the code.\n";
        assert!(lines("docs/PAGE.md", page).is_empty());
        assert_eq!(lines("PAGE.md", page), [3]);
    }
}
