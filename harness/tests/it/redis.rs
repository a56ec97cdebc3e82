//! The benchmark of the Redis driver counts correctly, checked on a few messages. No time is checked.

use crate::figures;

#[test]
fn the_bench_counts_every_message_of_a_small_drain() {
    let (figures, lines) = figures::of(env!("CARGO_BIN_EXE_bench_redis"), "check");
    // Three shapes of the bare client and Apium, without and with results; and Apium with events, and with callbacks
    // and events.
    for (fault, drains) in [("lost", 10), ("repeated", 10), ("unsettled", 10), ("unanswered", 4)] {
        assert_eq!(figures[fault], vec![0.0; drains], "{fault}: {lines}");
    }
    assert_eq!(figures["events_unheard"], [0.0], "{lines}");
    for rate in ["drain_64", "drain_bare", "results_64", "results_bare", "events_heard"] {
        assert!(figures[rate][0] > 0.0, "{rate}: {lines}");
    }
    // A worker needs at least one command to claim and settle a message.
    assert!(figures["results_64_commands"][0] >= 1.0, "{lines}");
}

#[test]
fn the_bench_of_remote_control_gets_a_reply_to_every_command() {
    let (figures, lines) = figures::of(env!("CARGO_BIN_EXE_bench_redis"), "check-control");
    let figure = |name: &str| figures.get(name).map_or(0.0, |values| values.iter().sum());
    for fault in ["lost", "repeated", "unsettled", "control_unanswered"] {
        assert!(lines.contains(fault) && figure(fault) == 0.0, "{fault}: {lines}");
    }
    assert!(figure("control_asked") > 0.0 && figure("control_rate") > 0.0, "{lines}");
}
