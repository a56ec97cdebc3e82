//! The outcome of a test: the line that it prints.

use serde_json::json;

use crate::report;

/// What one system did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the guarantee was kept.
    pub kept: bool,
    /// What was measured.
    pub text: String,
}

impl Outcome {
    /// Of a measurement.
    pub fn new(kept: bool, text: impl Into<String>) -> Self {
        Self { kept, text: text.into() }
    }

    /// Both outcomes in one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { kept: self.kept && other.kept, text: format!("{}; {}", self.text, other.text) }
    }
}

/// The outcome for one guarantee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its name in `docs/PROMISES.md`.
    pub guarantee: &'static str,
    /// What is guaranteed, in a few words.
    pub what: &'static str,
    /// What Apium did.
    pub apium: Outcome,
    /// What Celery did, when it was tested.
    pub celery: Option<Outcome>,
}

impl Row {
    /// Prints it as a line of JSON.
    pub fn print(&self) {
        let side = |outcome: &Outcome| json!({"kept": outcome.kept, "text": outcome.text});
        let line = json!({
            "guarantee": self.guarantee,
            "what": self.what,
            "apium": side(&self.apium),
            "celery": self.celery.as_ref().map(side),
        });
        report::line(&line.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guarantee_is_kept_when_every_part_is() {
        let good = Outcome::new(true, "a");
        let bad = Outcome::new(false, "b");
        assert_eq!(good.clone().and(bad), Outcome::new(false, "a; b"));
        assert!(good.clone().and(good).kept);
    }
}
