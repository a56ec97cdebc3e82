//! What documents name exists: paths, commands, examples.

use std::path::Path;

use crate::commands::COMMANDS;
use crate::files::File;
use crate::tidy::finding::Finding;

/// Folders of the root; a path in a document that starts with one is a path of the repository.
const FOLDERS: &[&str] = &["crates/", "docs/", "xtask/", "harness/", "peers/", "tests/", "fuzz/", ".ci/"];

/// Checks one document.
pub(crate) fn check(file: &File, root: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (i, line) in file.text.lines().enumerate() {
        let mut missing =
            |what: String| findings.push(Finding::at(&file.path, i + 1, format!("{what}, which is not there")));
        for path in paths(line).filter(|path| !root.join(path).exists()) {
            missing(format!("names the path {path}"));
        }
        for command in words_behind(line, "cargo xtask ") {
            if COMMANDS.iter().all(|known| known.name != command) {
                missing(format!("names the command `cargo xtask {command}`"));
            }
        }
        for example in words_behind(line, "--example ") {
            let places =
                [format!("crates/apium/examples/{example}.rs"), format!("crates/apium/examples/{example}/main.rs")];
            if places.iter().all(|place| !root.join(place).exists()) {
                missing(format!("names the example {example}"));
            }
        }
    }
    findings
}

/// The paths of the repository in code spans.
fn paths(line: &str) -> impl Iterator<Item = &str> {
    let spans = line.split('`').skip(1).step_by(2);
    let plain = |span: &&str| span.chars().all(|c| c.is_alphanumeric() || matches!(c, '/' | '.' | '-' | '_'));
    spans.filter(plain).filter(|span| FOLDERS.iter().any(|folder| span.starts_with(folder)))
}

/// The words that stand behind `mark`.
fn words_behind<'l>(line: &'l str, mark: &'l str) -> impl Iterator<Item = &'l str> {
    let rests = line.match_indices(mark).map(move |(at, _)| &line[at + mark.len()..]);
    rests.filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && !matches!(c, '-' | '_')).unwrap_or(rest.len());
        (end > 0).then(|| &rest[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;

    fn findings(text: &str) -> Vec<String> {
        let file = File { path: "docs/x.md".to_owned(), text: text.to_owned() };
        check(&file, &process::root().unwrap()).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn what_exists_may_be_named() {
        assert_eq!(findings("`xtask/src/main.rs` `x/y.rs` `cargo xtask tidy`"), [""; 0]);
    }

    #[test]
    fn what_does_not_exist_is_found() {
        assert_eq!(findings("see `crates/gone/src/lib.rs`").len(), 1);
        assert_eq!(findings("run `cargo xtask gone`").len(), 1);
        assert_eq!(findings("cargo run --release --example gone").len(), 1);
    }
}
