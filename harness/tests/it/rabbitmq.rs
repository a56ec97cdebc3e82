//! The benchmark of the RabbitMQ driver counts correctly, checked on a few messages. No time is checked.

use crate::figures;

#[test]
fn the_bench_counts_every_message_of_a_small_drain() {
    let (figures, lines) = figures::of(env!("CARGO_BIN_EXE_bench_amqp"), "check");
    // Three shapes of the bare client, and Apium.
    for fault in ["lost", "repeated", "unsettled"] {
        assert_eq!(figures[fault], [0.0; 4], "{fault}: {lines}");
    }
    for rate in ["drain_64", "drain_bare"] {
        assert!(figures[rate][0] > 0.0, "{rate}: {lines}");
    }
}
