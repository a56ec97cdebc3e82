//! Times as the scores of sorted sets.

use jiff::Timestamp;

/// A time as a score of `unacked_index`: seconds, as in kombu. The fourth decimal says whether the run has started, for
/// the guarantee crash-loop. So this needs no key and no command of its own.
pub(crate) fn score(millis: i64, started: bool) -> String {
    format!("{}.{:03}{}", millis.div_euclid(1000), millis.rem_euclid(1000), if started { "5" } else { "0" })
}

/// Whether a score that [`score`] wrote says that the run has started.
pub(crate) fn has_started(score: f64) -> bool {
    (score * 10_000.0).round() as i64 % 10 == 5
}

/// An instant as the score of a delayed message: whole microseconds, rounded up so that it is never early.
pub(crate) fn due_score(due: Timestamp) -> i64 {
    let micros = due.as_microsecond();
    if due.subsec_nanosecond() % 1000 > 0 { micros + 1 } else { micros }
}

#[cfg(test)]
mod tests {
    use super::{has_started, score};

    #[test]
    fn a_score_is_kombus_time_and_says_whether_the_run_has_started() {
        for millis in [0, 1, 999, 1_767_323_045_000, 1_767_323_045_999, 4_102_444_800_123] {
            for started in [false, true] {
                let text = score(millis, started);
                let read: f64 = text.parse().unwrap();
                assert_eq!(has_started(read), started, "{text}");
                assert_eq!((read * 1000.0).floor() as i64, millis, "{text}");
            }
        }
        // kombu writes more decimals, which say nothing; only the scores of Apium's own tags are read this way.
        assert!(!has_started(1_767_323_045.25));
    }
}
