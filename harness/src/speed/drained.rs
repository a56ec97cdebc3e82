//! A drain: how many messages, and its outcome.

use apium::prelude::BoxError;
use serde_json::{Value, json};

use crate::report;

/// How many messages each drains. Celery drains fewer, because it takes longer.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// The bare client and Apium.
    pub fast: u64,
    /// Celery.
    pub celery: u64,
}

/// The rate of a drain, and its faults.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drained {
    /// Executions in a second, from the first to the last.
    pub rate: f64,
    /// Numbers that were never executed.
    pub lost: u64,
    /// Executions beyond the first of each number.
    pub repeated: u64,
}

impl Drained {
    /// Prints it for the program that started this one.
    pub fn print(&self) {
        report::line(&json!({"rate": self.rate, "lost": self.lost, "repeated": self.repeated}).to_string());
    }

    /// Reads what [`Drained::print`] printed.
    pub fn parse(line: &str) -> Result<Self, BoxError> {
        let printed: Value = serde_json::from_str(line)?;
        match (printed["rate"].as_f64(), printed["lost"].as_u64(), printed["repeated"].as_u64()) {
            (Some(rate), Some(lost), Some(repeated)) => Ok(Self { rate, lost, repeated }),
            _ => Err(format!("read what the worker printed: {line}").into()),
        }
    }

    /// Prints the figures: the rate under `name`, and the faults under names that all drains share.
    pub fn report(&self, name: &str) {
        report::figure(name, self.rate, "/s");
        self.report_faults();
    }

    /// Prints the faults alone.
    pub fn report_faults(&self) {
        report::figure("lost", self.lost as f64, "tasks");
        report::figure("repeated", self.repeated as f64, "tasks");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_parsed() {
        let drained = Drained { rate: 1.5, lost: 2, repeated: 3 };
        assert_eq!(Drained::parse(r#"{"rate":1.5,"lost":2,"repeated":3}"#).unwrap(), drained);
        assert!(Drained::parse("{}").is_err());
    }
}
