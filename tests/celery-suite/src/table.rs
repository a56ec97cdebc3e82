//! The table: for each file of tests, how many pass with whom, and below it what is different and why.

use std::fmt;

use crate::exceptions::Exceptions;
use crate::outcomes::{Ending, Outcomes};
use crate::run::Workers;

/// The table of several runs. The first one is that of Celery.
#[derive(Debug)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Tests that fail, with their reasons.
    explained: Vec<String>,
    /// Tests that fail without a reason, with the end of their failure.
    faults: Vec<String>,
}

impl Table {
    /// The table of these runs.
    pub fn new(columns: &[(Workers, Outcomes)], exceptions: &Exceptions) -> Self {
        let head = ["file", "tests"].into_iter().chain(columns.iter().map(|(workers, _)| workers.title()));
        let mut table = Self {
            head: head.map(str::to_owned).collect(),
            rows: Vec::new(),
            explained: Vec::new(),
            faults: Vec::new(),
        };
        let Some(((_, celery), others)) = columns.split_first() else { return table };
        for file in celery.files() {
            let mut row = vec![file.to_owned(), celery.in_file(file).count().to_string()];
            row.extend(columns.iter().map(|(_, outcomes)| outcomes.summary_of(file)));
            table.rows.push(row);
        }
        for (workers, outcomes) in others {
            for (test, end) in &celery.0 {
                table.compare(test, end.ending, (*workers, outcomes), exceptions);
            }
        }
        table
    }

    fn compare(
        &mut self,
        test: &str,
        with_celery: Ending,
        (workers, outcomes): (Workers, &Outcomes),
        exceptions: &Exceptions,
    ) {
        let title = workers.title();
        let exception = exceptions.of(test, workers);
        match (outcomes.of(test), exception) {
            (None, _) => self.faults.push(format!("{title}: {test} was not run")),
            // A test that fails with Celery's worker too says nothing about Apium.
            (Some(_), None) if with_celery == Ending::Failed => {}
            (Some(Ending::Failed), Some(exception)) => {
                self.explained.push(format!("{title}: {test}: {}", exception.why));
            }
            (Some(Ending::Failed), None) => {
                let why = outcomes.0.get(test).map_or("", |end| end.why.trim());
                self.faults.push(format!("{title}: {test} fails:\n{why}"));
            }
            // Which worker gets a message decides about those that have both.
            (Some(_), Some(exception)) if workers == Workers::Rust && !exception.passes_at_times => {
                self.faults.push(format!("{title}: {test} passes: take it out of exceptions.toml"));
            }
            (Some(_), _) => {}
        }
    }

    /// Whether everything that fails has a reason, and nothing that has one passes.
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
        writeln!(f, "{}\n|{}", line(&self.head), "---|".repeat(self.head.len()))?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{}", line(row)))?;
        if !self.explained.is_empty() {
            writeln!(f, "\nThese fail, and why:\n")?;
            self.explained.iter().try_for_each(|text| writeln!(f, "- {text}"))?;
        }
        for fault in &self.faults {
            writeln!(f, "\nFAULT {fault}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(ends: &[(&str, &str)]) -> Outcomes {
        let line =
            |(test, end): &(&str, &str)| format!("{{\"test\": \"{test}\", \"outcome\": \"{end}\", \"why\": \"w\"}}\n");
        Outcomes::read(&ends.iter().map(line).collect::<String>()).unwrap()
    }

    #[test]
    fn a_failure_without_a_reason_is_a_fault_unless_celery_fails_too() {
        let celery = outcomes(&[("test_a.py::x", "passed"), ("test_a.py::y", "failed"), ("test_b.py::z", "xfailed")]);
        let rust = outcomes(&[("test_a.py::x", "failed"), ("test_a.py::y", "failed")]);
        let columns = [(Workers::Celery, celery.clone()), (Workers::Rust, rust)];
        let table = Table::new(&columns, &Exceptions::read().unwrap());
        assert!(!table.is_good());
        assert_eq!(table.faults.len(), 2, "{table}");
        assert!(table.faults[0].contains("test_a.py::x fails") && table.faults[1].contains("test_b.py::z was not run"));
        let text = table.to_string();
        assert!(text.contains("| test_a | 2 | 1 passed, 1 failed | 2 failed |"), "{text}");
        let table =
            Table::new(&[(Workers::Celery, celery.clone()), (Workers::Rust, celery)], &Exceptions::read().unwrap());
        assert!(table.is_good(), "{table}");
    }
}
