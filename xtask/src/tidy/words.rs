//! Words: names that say nothing, calls that have no place, and texts that belong to one machine.

use crate::files::File;
use crate::tidy::finding::Finding;
use crate::tidy::rust::{Source, is_name, line_of, places};

/// Names of files, folders and modules that say nothing about what lives there.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "common", "base", "helper", "helpers", "misc", "manager", "managers", "utilities"];

/// Endings of type names that say nothing.
const EMPTY_ENDINGS: &[&str] = &["Manager", "Helper", "Helpers", "Util", "Utils"];

/// What code must not call, anywhere.
const NOWHERE: &[(&str, &str)] = &[
    ("todo!", "finish it"),
    ("unimplemented!", "finish it"),
    ("dbg!", "take it out"),
    ("#[ignore", "a test runs or goes"),
];

/// What tests must not call.
const NOT_IN_TESTS: &[&str] = &["thread::sleep", "time::sleep"];

/// Checks the code of a file.
pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = names(source);
    for (word, advice) in NOWHERE {
        for (at, _) in source.code().match_indices(word) {
            let starts = !source.code()[..at].chars().next_back().is_some_and(is_name);
            if starts {
                findings.push(Finding::at(source.path(), line_of(source.code(), at), format!("{word}: {advice}")));
            }
        }
    }
    for word in NOT_IN_TESTS {
        for at in places(source.tests(), word) {
            let text = format!("{word} in a test: turn the manual clock, or wait for a named signal");
            findings.push(Finding::at(source.path(), line_of(source.tests(), at), text));
        }
    }
    findings
}

fn names(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let parts = source.path().trim_end_matches(".rs").split('/');
    for part in parts.filter(|part| EMPTY_NAMES.contains(part)) {
        findings.push(Finding::of(
            source.path(),
            format!("the name {part:?} says nothing: name the idea that lives there"),
        ));
    }
    for keyword in ["mod", "struct", "enum", "trait", "type"] {
        for at in places(source.code(), keyword) {
            let rest = source.code()[at + keyword.len()..].trim_start();
            let name = &rest[..rest.find(|c: char| !is_name(c)).unwrap_or(rest.len())];
            if EMPTY_NAMES.contains(&name) || EMPTY_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
                let text = format!("the name {name:?} says nothing: say what it does");
                findings.push(Finding::at(source.path(), line_of(source.code(), at), text));
            }
        }
    }
    findings
}

/// Checks the text of any file, comments included.
pub(crate) fn check_text(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Written in two parts, so that this file does not hold what it looks for.
    let machine = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/home", "/user"), concat!("../sha", "red")];
    for (i, line) in file.text.lines().enumerate() {
        for word in machine.iter().filter(|word| line.contains(**word)) {
            findings.push(Finding::at(&file.path, i + 1, format!("{word} is a path of one machine")));
        }
        let fence = line.trim_start().trim_start_matches(['/', '!', ' ']);
        let words = fence.strip_prefix("```").unwrap_or_default().split(',');
        if words.map(str::trim).any(|word| word == "ignore" || word.starts_with("ignore-")) {
            findings.push(Finding::at(
                &file.path,
                i + 1,
                "an ignored example rots: make it run, or `no_run`, or `text`",
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        let found = check(&Source::new(&file)).into_iter().chain(check_text(&file));
        found.map(|finding| finding.text).collect()
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        assert_eq!(findings("crates/x/src/util.rs", "").len(), 1);
        assert_eq!(findings("crates/x/src/helpers/a.rs", "").len(), 1);
        assert_eq!(findings("a.rs", "mod common { }").len(), 1);
        assert_eq!(findings("a.rs", "struct TaskManager;").len(), 1);
        assert!(findings("a.rs", "struct Utility; mod commonest {}").is_empty());
    }

    #[test]
    fn unfinished_code_is_found_and_words_about_it_are_not() {
        assert_eq!(findings("a.rs", "fn f() { todo!() }"), ["todo!: finish it"]);
        assert_eq!(findings("a.rs", "#[test]\n#[ignore = \"slow\"]\nfn f() {}").len(), 1);
        assert!(findings("a.rs", "// todo!()\nfn f() { g(\"dbg!\") }").is_empty());
    }

    #[test]
    fn sleeping_tests_are_found_and_sleeping_code_is_not() {
        let test = "#[cfg(test)]\nmod tests { fn f() { std::thread::sleep(d) } }";
        assert_eq!(findings("crates/x/src/a.rs", test).len(), 1);
        assert_eq!(findings("crates/x/tests/it/a.rs", "fn f() { tokio::time::sleep(d).await }").len(), 1);
        assert!(findings("crates/x/src/a.rs", "fn f() { tokio::time::sleep(d).await }").is_empty());
    }

    #[test]
    fn paths_of_a_machine_and_ignored_examples_are_found() {
        assert_eq!(findings("a.rs", concat!("// see /ro", "ot/x")).len(), 1);
        assert_eq!(findings("a.md", concat!("```", "rust,ignore\n```")).len(), 1);
        assert_eq!(findings("a.rs", concat!("/// ```", "ignore")).len(), 1);
        assert!(findings("a.md", "```rust,no_run\n```\nignore").is_empty());
    }
}
