//! The tests that fail with a worker of Apium, each with its reason.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::run::Workers;

/// The list.
const LIST: &str = include_str!("../exceptions.toml");

/// The exceptions.
#[derive(Debug)]
pub struct Exceptions(Vec<Exception>);

/// Tests that may fail, and why.
#[derive(Debug, Deserialize)]
pub struct Exception {
    /// Why they fail.
    pub why: String,
    /// The tests, `test_tasks.py::test_tasks::test_revoked`; with a `*` at the end, all whose name begins so.
    tests: Vec<String>,
    /// Whether they pass at times.
    #[serde(default)]
    pub passes_at_times: bool,
    /// The workers with which they fail; none for all.
    #[serde(default)]
    with: Vec<Workers>,
}

impl Exceptions {
    /// Reads the list.
    ///
    /// # Errors
    /// It is not as it should be.
    pub fn read() -> Result<Self, String> {
        let list: BTreeMap<String, Vec<Exception>> =
            toml::from_str(LIST).map_err(|error| format!("read exceptions.toml: {error}"))?;
        Ok(Self(list.into_values().flatten().collect()))
    }

    /// The exception of a test.
    pub fn of(&self, test: &str, workers: Workers) -> Option<&Exception> {
        let named = |name: &String| match name.strip_suffix('*') {
            Some(beginning) => test.starts_with(beginning),
            None => test == name,
        };
        let is_meant = |exception: &Exception| exception.with.is_empty() || exception.with.contains(&workers);
        let mut all = self.0.iter().filter(|exception| workers != Workers::Celery && is_meant(exception));
        all.find(|exception| exception.tests.iter().any(named))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exception_has_a_reason_and_names_tests() {
        let exceptions = Exceptions::read().unwrap();
        for exception in &exceptions.0 {
            assert!(exception.why.ends_with('.') && !exception.tests.is_empty(), "{exception:?}");
            assert!(exception.tests.iter().all(|test| test.contains(".py::")), "{exception:?}");
        }
    }

    #[test]
    fn a_star_stands_for_the_rest_of_a_name() {
        let exception = |tests: &[&str]| Exception {
            why: "It does.".to_owned(),
            tests: tests.iter().map(|test| (*test).to_owned()).collect(),
            passes_at_times: false,
            with: Vec::new(),
        };
        let all = Exceptions(vec![exception(&["a.py::one*"]), exception(&["a.py::two"])]);
        assert!(all.of("a.py::one[x]", Workers::Rust).is_some() && all.of("a.py::one", Workers::Both).is_some());
        assert!(all.of("a.py::two", Workers::Rust).is_some() && all.of("a.py::two[x]", Workers::Rust).is_none());
        assert!(all.of("a.py::one", Workers::Celery).is_none());
    }

    #[test]
    fn an_exception_of_two_workers_is_none_of_one() {
        let list = Exceptions::read().unwrap();
        let test = "test_inspect.py::test_Inspect::test_ping";
        assert!(list.of(test, Workers::Both).is_some() && list.of(test, Workers::Rust).is_none());
    }
}
