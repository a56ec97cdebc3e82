//! Reads the output of `cargo test`, counts the tests, and keeps what failed tests said first.

use std::time::Duration;

/// How many lines of a failed test are said again after the last test.
const MOST_LINES: usize = 30;

/// How many failed tests are said again. The output above has all of them.
const MOST_TOLD: usize = 10;

/// The counts over all test binaries.
#[derive(Debug, Default)]
pub(crate) struct Total {
    passed: u64,
    failed: u64,
    ignored: u64,
    binaries: u64,
    /// The names of failed tests, each with its binary.
    failures: Vec<String>,
    /// The first lines of what failed tests printed.
    told: Vec<Vec<String>>,
    current: Binary,
}

/// The binary whose output is being read.
#[derive(Debug, Default)]
struct Binary {
    /// Its name, as cargo announced it; none before the first.
    name: Option<String>,
    /// Whether its total is still missing.
    is_running: bool,
    /// The names under the latest `failures:` line.
    listed: Vec<String>,
    /// Whether the lines of that list are being read.
    is_listing: bool,
    /// Whether the output of a failed test is being read.
    is_telling: bool,
}

impl Total {
    /// Reads one line of output.
    pub(crate) fn read(&mut self, line: &str) {
        self.keep(line);
        if let Some(name) = announced(line) {
            self.end_binary();
            self.current = Binary { name: Some(name), is_running: true, ..Binary::default() };
        } else if let Some(at) = line.find("test result: ") {
            self.read_result(&line[at..]);
        } else if line == "failures:" {
            self.current.is_listing = true;
            self.current.listed.clear();
        } else if self.current.is_listing {
            match line.strip_prefix("    ") {
                Some(name) if !line.starts_with("     ") => self.current.listed.push(name.to_owned()),
                // Other lines are the output of tests.
                _ if line.is_empty() => {}
                _ => self.current.listed.clear(),
            }
        }
    }

    /// Keeps the line if a failed test printed it. A backtrace is left out: the panic names its place.
    fn keep(&mut self, line: &str) {
        if line.starts_with("---- ") && line.ends_with(" stdout ----") {
            self.current.is_telling = self.told.len() < MOST_TOLD;
            if self.current.is_telling {
                self.told.push(Vec::new());
            }
        } else if line == "failures:" || line == "stack backtrace:" {
            self.current.is_telling = false;
        }
        if let Some(told) = self.told.last_mut().filter(|told| self.current.is_telling && told.len() < MOST_LINES) {
            told.push(line.to_owned());
        }
    }

    /// Reads `test result: ok. 3 passed; 1 failed; 0 ignored; …`.
    fn read_result(&mut self, line: &str) {
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
        self.current.is_running = false;
        self.current.is_listing = false;
        let listed = std::mem::take(&mut self.current.listed);
        if failed > 0 {
            let name = self.current.name.as_deref().unwrap_or("?");
            self.failures.extend(listed.iter().map(|test| format!("{test} ({name})")));
        }
    }

    /// Counts a binary without a total as failed: it has crashed.
    fn end_binary(&mut self) {
        if std::mem::take(&mut self.current.is_running) {
            let name = self.current.name.take().unwrap_or_default();
            self.failed += 1;
            self.failures.push(format!("{name} ended without a total: it crashed or was killed"));
        }
    }

    /// Ends the count, and returns the lines to print, the total last.
    pub(crate) fn finish(&mut self, took: Duration) -> Vec<String> {
        self.end_binary();
        let mut lines: Vec<String> = std::mem::take(&mut self.told).into_iter().flatten().collect();
        lines.extend(self.failures.iter().map(|failure| format!("failed: {failure}")));
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

/// The binary that cargo announces: `     Running unittests src/lib.rs (target/debug/deps/x-0123)` or
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
        output.lines().for_each(|line| total.read(line));
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
             \nfailures:\n\n---- deep::inside stdout ----\n    four spaces of the test's own\n\
             stack backtrace:\n   0: somewhere\n\n\
             \nfailures:\n    deep::inside\n    other\n\n\
             test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n",
        );
        assert_eq!(
            lines,
            [
                "---- deep::inside stdout ----",
                "    four spaces of the test's own",
                "failed: deep::inside (it)",
                "failed: other (it)",
                "total: 5 passed, 2 failed, 0 ignored (1 binaries, 7 s)"
            ]
        );
        assert!(!total.is_good());
    }

    #[test]
    fn of_what_failed_tests_print_only_the_beginning_is_said_again() {
        let test = format!("---- long stdout ----\n{}", "more\n".repeat(100));
        let (_, lines) = count(&format!("failures:\n\n{}\nfailures:\n    long\n", test.repeat(20)));
        assert_eq!(lines.len(), 10 * 30 + 1);
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
