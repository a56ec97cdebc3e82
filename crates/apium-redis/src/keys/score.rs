//! Times as scores of sorted sets.

use jiff::Timestamp;

/// A time as a score of the index: seconds, as kombu has them. The fourth place behind the point says whether the run has begun
/// (P4), which costs no key and no command of its own.
pub(crate) fn score(millis: i64, begun: bool) -> String {
    format!("{}.{:03}{}", millis.div_euclid(1000), millis.rem_euclid(1000), if begun { "5" } else { "0" })
}

/// What [`score`] wrote: whether the run has begun.
pub(crate) fn has_started(score: f64) -> bool {
    (score * 10_000.0).round() as i64 % 10 == 5
}

/// An instant as the score of what is parked: whole microseconds, never early.
pub(crate) fn due_score(due: Timestamp) -> i64 {
    let micros = due.as_microsecond();
    if due.subsec_nanosecond() % 1000 > 0 { micros + 1 } else { micros }
}

#[cfg(test)]
mod tests {
    use super::{has_started, score};

    #[test]
    fn a_score_is_kombus_time_and_says_whether_the_run_has_begun() {
        for millis in [0, 1, 999, 1_767_323_045_000, 1_767_323_045_999, 4_102_444_800_123] {
            for begun in [false, true] {
                let text = score(millis, begun);
                let read: f64 = text.parse().unwrap();
                assert_eq!(has_started(read), begun, "{text}");
                assert_eq!((read * 1000.0).floor() as i64, millis, "{text}");
            }
        }
        // What kombu writes has more places and is no mark of ours to be read: it is only read of our own tags.
        assert!(!has_started(1_767_323_045.25));
    }
}
