//! How the tests of one run ended, as the plugin wrote it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// How a test ended. Of several reports about one test the worst counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// It passed.
    Passed,
    /// It failed, as Celery's authors expect it to.
    Xfailed,
    /// It was not run: it needs something else than Redis.
    Skipped,
    /// It failed.
    Failed,
}

/// What is known of one test.
#[derive(Debug, Clone)]
pub struct TestEnd {
    /// How it ended.
    pub ending: Ending,
    /// The end of the text of its failure.
    pub why: String,
}

/// How all tests of a run ended, by their names: `test_canvas.py::test_chain::test_simple_chain`.
#[derive(Debug, Clone, Default)]
pub struct Outcomes(pub BTreeMap<String, TestEnd>);

impl Outcomes {
    /// Reads the lines of the plugin.
    ///
    /// # Errors
    /// A line that is not of the plugin.
    pub fn read(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Line {
            test: String,
            outcome: Ending,
            why: String,
        }
        let mut all: BTreeMap<String, TestEnd> = BTreeMap::new();
        for line in text.lines() {
            let Line { test, outcome, why } =
                serde_json::from_str(line).map_err(|error| format!("read the outcome {line:?}: {error}"))?;
            let known = all.entry(test).or_insert_with(|| TestEnd { ending: Ending::Passed, why: String::new() });
            if outcome > known.ending {
                *known = TestEnd { ending: outcome, why };
            }
        }
        Ok(Self(all))
    }

    /// How a test ended; `None` if it was not run.
    pub fn of(&self, test: &str) -> Option<Ending> {
        self.0.get(test).map(|end| end.ending)
    }

    /// The tests of a file.
    pub fn in_file<'a>(&'a self, file: &'a str) -> impl Iterator<Item = (&'a str, &'a TestEnd)> {
        self.0.iter().map(|(test, end)| (test.as_str(), end)).filter(move |(test, _)| file_of(test) == file)
    }

    /// The files, in order.
    pub fn files(&self) -> Vec<&str> {
        let mut files: Vec<&str> = self.0.keys().map(|test| file_of(test)).collect();
        files.dedup();
        files
    }

    /// How the tests of a file ended: `237 passed, 3 xfailed`.
    pub fn summary_of(&self, file: &str) -> String {
        let words = [
            (Ending::Passed, "passed"),
            (Ending::Failed, "failed"),
            (Ending::Skipped, "skipped"),
            (Ending::Xfailed, "xfailed"),
        ];
        let counted =
            words.map(|(ending, word)| (self.in_file(file).filter(|(_, end)| end.ending == ending).count(), word));
        let some = counted.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
        let text = some.collect::<Vec<_>>().join(", ");
        if text.is_empty() { "none".to_owned() } else { text }
    }
}

/// The file of a test, without its ending: `test_canvas`.
pub(crate) fn file_of(test: &str) -> &str {
    let file = test.split("::").next().unwrap_or(test);
    file.strip_suffix(".py").unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_report_about_a_test_counts() {
        let line = |test: &str, outcome: &str| {
            format!("{{\"test\": \"{test}\", \"outcome\": \"{outcome}\", \"seconds\": 0.1, \"why\": \"{outcome}\"}}\n")
        };
        let text = [
            line("test_a.py::one", "passed"),
            line("test_a.py::one", "failed"),
            line("test_a.py::one", "passed"),
            line("test_b.py::two", "xfailed"),
            line("test_b.py::three", "skipped"),
        ];
        let outcomes = Outcomes::read(&text.concat()).unwrap();
        assert_eq!(outcomes.of("test_a.py::one"), Some(Ending::Failed));
        assert_eq!(outcomes.0["test_a.py::one"].why, "failed");
        assert_eq!(outcomes.of("test_b.py::four"), None);
        assert_eq!(outcomes.files(), ["test_a", "test_b"]);
        assert_eq!(outcomes.summary_of("test_a"), "1 failed");
        assert_eq!(outcomes.summary_of("test_b"), "1 skipped, 1 xfailed");
        assert_eq!(outcomes.summary_of("test_c"), "none");
        assert!(Outcomes::read("{").unwrap_err().contains("read the outcome"));
    }
}
