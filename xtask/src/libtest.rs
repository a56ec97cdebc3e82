//! Reads what `cargo test` prints and counts it.

use std::time::Duration;

/// What was counted over all test binaries.
#[derive(Debug, Default)]
pub(crate) struct Total {
    passed: u64,
    failed: u64,
    ignored: u64,
    binaries: u64,
    /// The names of failed tests, each behind the binary that holds it.
    failures: Vec<String>,
    open: Open,
}

/// The binary whose output is being read.
#[derive(Debug, Default)]
struct Open {
    /// As cargo announced it; none before the first.
    name: Option<String>,
    /// Whether it has given no total yet.
    waiting: bool,
    /// The names under the latest `failures:` line.
    listed: Vec<String>,
    listing: bool,
}

impl Total {
    /// Takes one line of output.
    pub(crate) fn see(&mut self, line: &str) {
        if let Some(name) = announced(line) {
            self.close();
            self.open = Open { name: Some(name), waiting: true, ..Open::default() };
        } else if let Some(at) = line.find("test result: ") {
            self.result(&line[at..]);
        } else if line == "failures:" {
            self.open.listing = true;
            self.open.listed.clear();
        } else if self.open.listing {
            match line.strip_prefix("    ") {
                Some(name) if !line.starts_with("     ") => self.open.listed.push(name.to_owned()),
                // The list is a block of its own; what comes between is the output of tests.
                _ if line.is_empty() => {}
                _ => self.open.listed.clear(),
            }
        }
    }

    /// Takes `test result: ok. 3 passed; 1 failed; 0 ignored; …`.
    fn result(&mut self, line: &str) {
        let count = |word: &str| -> u64 {
            let number =
                line.find(word).and_then(|at| line[..at].rsplit([' ', '.', ';']).find(|part| !part.is_empty()));
            number.and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        let failed = count(" failed;");
        self.passed += count(" passed;");
        self.failed += failed;
        self.ignored += count(" ignored;");
        self.binaries += 1;
        self.open.waiting = false;
        self.open.listing = false;
        let listed = std::mem::take(&mut self.open.listed);
        if failed > 0 {
            let name = self.open.name.as_deref().unwrap_or("?");
            self.failures.extend(listed.iter().map(|test| format!("{test} ({name})")));
        }
    }

    /// A binary that was announced and gave no total has died.
    fn close(&mut self) {
        if std::mem::take(&mut self.open.waiting) {
            let name = self.open.name.take().unwrap_or_default();
            self.failed += 1;
            self.failures.push(format!("{name} ended without a total: it crashed, or was ended"));
        }
    }

    /// Ends the count; the lines to print, the total last.
    pub(crate) fn finish(&mut self, took: Duration) -> Vec<String> {
        self.close();
        let mut lines: Vec<String> = self.failures.iter().map(|failure| format!("failed: {failure}")).collect();
        lines.push(format!(
            "total: {} passed, {} failed, {} ignored ({} binaries, {} s)",
            self.passed,
            self.failed,
            self.ignored,
            self.binaries,
            took.as_secs()
        ));
        lines
    }

    /// Whether any test ran, and none failed.
    pub(crate) fn is_good(&self) -> bool {
        self.failed == 0 && self.binaries > 0
    }
}

/// The binary that cargo says it runs now: `     Running unittests src/lib.rs (target/debug/deps/x-0123)` or
/// `   Doc-tests apium`.
fn announced(line: &str) -> Option<String> {
    let line = line.trim_start();
    if let Some(name) = line.strip_prefix("Doc-tests ") {
        return Some(format!("doc tests of {}", name.trim()));
    }
    let path = line.strip_prefix("Running ")?.strip_suffix(')')?.rsplit_once(" (")?.1;
    let file = path.rsplit(['/', '\\']).next()?;
    let file = file.strip_suffix(".exe").unwrap_or(file);
    Some(file.rsplit_once('-').map_or(file, |(name, _hash)| name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(output: &str) -> (Total, Vec<String>) {
        let mut total = Total::default();
        output.lines().for_each(|line| total.see(line));
        let lines = total.finish(Duration::from_secs(7));
        (total, lines)
    }

    #[test]
    fn totals_are_summed_over_binaries() {
        let (total, lines) = count(
            "     Running unittests src/lib.rs (target/debug/deps/apium_app-0a1b)\n\
             running 2 tests\n\
             test a ... ok\n\
             test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
             \n   Doc-tests apium\n\
             test result: ok. 10 passed; 0 failed; 0 ignored; 0 measured; 4 filtered out; finished in 0.01s\n",
        );
        assert_eq!(lines, ["total: 12 passed, 0 failed, 1 ignored (2 binaries, 7 s)"]);
        assert!(total.is_good());
    }

    #[test]
    fn failed_tests_are_named_with_their_binary() {
        let (total, lines) = count(
            "     Running tests/it/main.rs (target/debug/deps/it-77)\n\
             test deep::inside ... FAILED\n\
             \nfailures:\n\n---- deep::inside stdout ----\n    four spaces of the test's own\n\n\
             \nfailures:\n    deep::inside\n    other\n\n\
             test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n",
        );
        assert_eq!(
            lines,
            [
                "failed: deep::inside (it)",
                "failed: other (it)",
                "total: 5 passed, 2 failed, 0 ignored (1 binaries, 7 s)"
            ]
        );
        assert!(!total.is_good());
    }

    #[test]
    fn a_binary_that_dies_counts_as_failed() {
        let (total, lines) = count(
            "     Running tests/it/main.rs (target/debug/deps/it-77)\n\
             running 3 tests\n\
             error: test failed, to rerun pass `--test it`\n",
        );
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("failed: it ended without a total"), "{lines:?}");
        assert!(!total.is_good());
    }

    #[test]
    fn nothing_run_is_not_good() {
        assert!(!count("error: could not compile\n").0.is_good());
    }
}
