//! What came out, as a line for each promise and as the table of them.

use serde_json::json;

use crate::report;

/// What one system did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it kept the promise.
    pub kept: bool,
    /// What was measured.
    pub text: String,
}

impl Outcome {
    /// With what was measured.
    pub fn new(kept: bool, text: impl Into<String>) -> Self {
        Self { kept, text: text.into() }
    }

    /// Both happened.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { kept: self.kept && other.kept, text: format!("{}; {}", self.text, other.text) }
    }
}

/// One promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its number.
    pub promise: &'static str,
    /// What is promised.
    pub what: &'static str,
    /// What Apium did.
    pub apium: Outcome,
    /// What Celery did, where it was asked.
    pub celery: Option<Outcome>,
}

impl Row {
    /// Prints it for whoever reads the pipe.
    pub fn print(&self) {
        let side = |outcome: &Outcome| json!({"kept": outcome.kept, "text": outcome.text});
        let line = json!({
            "promise": self.promise,
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
    fn a_promise_is_kept_when_all_of_it_is() {
        let good = Outcome::new(true, "a");
        let bad = Outcome::new(false, "b");
        assert_eq!(good.clone().and(bad), Outcome::new(false, "a; b"));
        assert!(good.clone().and(good).kept);
    }
}
