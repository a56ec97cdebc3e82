//! What a drain came to.

use apium::prelude::BoxError;
use serde_json::{Value, json};

use crate::report;

/// Executions in a second, and what went wrong.
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
    pub fn tell(&self) {
        report::line(&json!({"rate": self.rate, "lost": self.lost, "repeated": self.repeated}).to_string());
    }

    /// Reads what [`Drained::tell`] printed.
    pub fn hear(line: &str) -> Result<Self, BoxError> {
        let said: Value = serde_json::from_str(line)?;
        match (said["rate"].as_f64(), said["lost"].as_u64(), said["repeated"].as_u64()) {
            (Some(rate), Some(lost), Some(repeated)) => Ok(Self { rate, lost, repeated }),
            _ => Err(format!("read what the worker said: {line}").into()),
        }
    }

    /// Prints the figures: the rate under `name`, and the faults, which are gathered over all drains.
    pub fn report(&self, name: &str) {
        report::figure(name, self.rate, "/s");
        report::figure("lost", self.lost as f64, "tasks");
        report::figure("repeated", self.repeated as f64, "tasks");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_heard() {
        let drained = Drained { rate: 1.5, lost: 2, repeated: 3 };
        assert_eq!(Drained::hear(r#"{"rate":1.5,"lost":2,"repeated":3}"#).unwrap(), drained);
        assert!(Drained::hear("{}").is_err());
    }
}
