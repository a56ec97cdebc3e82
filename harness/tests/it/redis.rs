//! The benchmark of the Redis driver counts correctly, checked on a few messages. No time is checked.

use std::collections::BTreeMap;
use std::process::Command;

#[test]
fn the_bench_counts_every_message_of_a_small_drain() {
    let out = Command::new(env!("CARGO_BIN_EXE_bench_redis")).arg("check").output().unwrap();
    let (lines, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{lines}\n{errors}");
    let mut figures: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for line in lines.lines() {
        let figure: serde_json::Value = serde_json::from_str(line).unwrap();
        if let (Some(measure), Some(value)) = (figure["measure"].as_str(), figure["value"].as_f64()) {
            figures.entry(measure.to_owned()).or_default().push(value);
        }
    }
    // Three shapes of the bare client and Apium, without and with results.
    for (fault, drains) in [("lost", 8), ("repeated", 8), ("unsettled", 8), ("unanswered", 4)] {
        assert_eq!(figures[fault], vec![0.0; drains], "{fault}: {lines}");
    }
    for rate in ["drain_64", "drain_bare", "results_64", "results_bare"] {
        assert!(figures[rate][0] > 0.0, "{rate}: {lines}");
    }
    // A worker needs at least one command to claim and settle a message.
    assert!(figures["results_64_commands"][0] >= 1.0, "{lines}");
}
