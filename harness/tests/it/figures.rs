//! The figures that a program of the harness prints.

use std::collections::BTreeMap;

use crate::program::run;

/// Runs a program of the harness to its end, which must be a good one: its figures by name, and all that it printed.
pub(crate) fn of(program: &str, measure: &str) -> (BTreeMap<String, Vec<f64>>, String) {
    let lines = run(program, &[measure]);
    let mut figures: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for line in lines.lines() {
        let figure: serde_json::Value = serde_json::from_str(line).unwrap();
        if let (Some(measure), Some(value)) = (figure["measure"].as_str(), figure["value"].as_f64()) {
            figures.entry(measure.to_owned()).or_default().push(value);
        }
    }
    (figures, lines)
}
