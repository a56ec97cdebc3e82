//! Calls that have no place: unfinished code, tests that do not run, tests that sleep.

use crate::tidy::finding::Finding;
use crate::tidy::source::rust::Source;
use crate::tidy::source::scan::{is_name, line_of, places};

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
    let mut findings = Vec::new();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::File;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        check(&Source::new(&file)).into_iter().map(|finding| finding.text).collect()
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
}
