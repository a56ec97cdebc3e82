//! The figures that the programs of `harness/` print, one JSON line each, gathered over several runs.

use std::collections::BTreeMap;

use serde_json::Value;

/// The values of each measure, in the order of the runs.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    values: BTreeMap<String, Vec<f64>>,
}

/// The summary of several runs of one measure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    /// The value in the middle.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) least: f64,
    /// The largest.
    pub(crate) most: f64,
    /// How many runs.
    pub(crate) runs: usize,
}

impl Figures {
    /// Reads the output of one run, and skips lines that are no figures.
    pub(crate) fn read(&mut self, output: &str) {
        for line in output.lines() {
            let Ok(figure) = serde_json::from_str::<Value>(line) else { continue };
            if let (Some(measure), Some(value)) = (figure["measure"].as_str(), figure["value"].as_f64()) {
                self.values.entry(measure.to_owned()).or_default().push(value);
            }
        }
    }

    /// The summary of the measure `name`; nothing when no run printed it.
    pub(crate) fn of(&self, name: &str) -> Option<Summary> {
        let mut values = self.values.get(name)?.clone();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        let median = if values.len().is_multiple_of(2) { f64::midpoint(values[middle - 1], upper) } else { upper };
        Some(Summary { median, least: *values.first()?, most: *values.last()?, runs: values.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_gathered_and_other_lines_are_skipped() {
        let mut figures = Figures::default();
        for value in ["3", "1", "2"] {
            figures.read(&format!("warming up\n{{\"measure\":\"m\",\"value\":{value},\"unit\":\"/s\"}}\n"));
        }
        assert_eq!(figures.of("m"), Some(Summary { median: 2.0, least: 1.0, most: 3.0, runs: 3 }));
        assert_eq!(figures.of("other"), None);
    }

    #[test]
    fn the_median_of_two_lies_between_them() {
        let mut figures = Figures::default();
        figures.read("{\"measure\":\"m\",\"value\":1}\n{\"measure\":\"m\",\"value\":4}");
        assert_eq!(figures.of("m").unwrap().median.to_bits(), 2.5_f64.to_bits());
    }
}
