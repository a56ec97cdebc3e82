//! What this process has seen of the leases of consumers. A lease has ended when its consumer was silent for as long as
//! the lease is, by the monotonic clock of whoever looks. The time of day does not count: somebody may set it, and a
//! machine may sleep.
//!
//! Only the time in which this process looked counts. When it was stopped itself, or the machine was, the others get
//! the time to be heard first.

use std::collections::HashMap;
use std::time::Duration;

use apium_transport::clock::Moment;

/// The lease of a consumer, as its row has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaseRow {
    pub(crate) consumer: i64,
    /// Each renewal changes it. An instant of the time of day, for programs that take it for one.
    pub(crate) until: i64,
    /// How long the lease is; `None` when an older program registered the consumer.
    pub(crate) length: Option<Duration>,
}

/// The leases that this process has seen.
#[derive(Debug, Default)]
pub(crate) struct ObservedLeases {
    last_look: Option<Moment>,
    by_consumer: HashMap<i64, Silence>,
}

/// How long a consumer has been silent.
#[derive(Debug, Clone, Copy)]
struct Silence {
    until: i64,
    lasts: Duration,
}

impl ObservedLeases {
    /// Looks at the rows of all consumers, at `now`. Returns those whose lease has ended. `interval` is the time
    /// between two looks, and so the most that one look counts. `shortest` is how long a lease is that does not say.
    pub(crate) fn look(
        &mut self,
        rows: &[LeaseRow],
        now: Moment,
        interval: Duration,
        shortest: Duration,
    ) -> Vec<LeaseRow> {
        let passed = self.last_look.map_or(Duration::ZERO, |last| now.saturating_since(last)).min(interval);
        self.last_look = Some(now);
        self.by_consumer.retain(|consumer, _| rows.iter().any(|row| row.consumer == *consumer));
        let mut ended = Vec::new();
        for row in rows {
            let silence =
                self.by_consumer.entry(row.consumer).or_insert(Silence { until: row.until, lasts: Duration::ZERO });
            match silence.until == row.until {
                true => silence.lasts += passed,
                false => *silence = Silence { until: row.until, lasts: Duration::ZERO },
            }
            if silence.lasts >= row.length.unwrap_or(shortest) {
                ended.push(*row);
            }
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn row(consumer: i64, until: i64, length: Option<u64>) -> LeaseRow {
        LeaseRow { consumer, until, length: length.map(S) }
    }

    /// Looks once a second at the rows that `row_at` gives for each second; the second at which a lease had ended.
    fn ends(length: Option<u64>, until: impl Fn(u64) -> i64) -> Option<u64> {
        let mut leases = ObservedLeases::default();
        (0..100).find(|second| {
            let now = Moment::FIRST.saturating_add(S(*second));
            !leases.look(&[row(1, until(*second), length)], now, S(1), S(3)).is_empty()
        })
    }

    #[test]
    fn a_silent_consumer_has_its_lease_once_more_from_the_first_look() {
        assert_eq!(ends(Some(5), |_| 77), Some(5));
        assert_eq!(ends(None, |_| 77), Some(3), "an older program does not say how long its lease is");
        assert_eq!(ends(Some(5), |second| if second < 4 { 77 } else { 78 }), Some(9));
    }

    #[test]
    fn a_consumer_that_renews_keeps_its_lease_whatever_the_time_of_day_is() {
        assert_eq!(ends(Some(5), |second| (second / 4).cast_signed()), None);
        // The time of day goes back with each renewal.
        assert_eq!(ends(Some(5), |second| -(second / 4).cast_signed()), None);
    }

    #[test]
    fn the_time_in_which_nobody_looked_does_not_count() {
        let mut leases = ObservedLeases::default();
        let rows = [row(1, 77, Some(5))];
        for hour in 0..5 {
            let now = Moment::FIRST.saturating_add(S(hour * 3600));
            assert!(leases.look(&rows, now, S(1), S(3)).is_empty(), "after {hour} looks");
        }
        assert_eq!(leases.look(&rows, Moment::FIRST.saturating_add(S(5 * 3600)), S(1), S(3)), rows);
    }

    #[test]
    fn a_consumer_that_is_gone_is_forgotten() {
        let mut leases = ObservedLeases::default();
        for second in 0..5 {
            leases.look(&[row(1, 77, Some(5))], Moment::FIRST.saturating_add(S(second)), S(1), S(3));
        }
        leases.look(&[], Moment::FIRST.saturating_add(S(5)), S(1), S(3));
        assert!(leases.by_consumer.is_empty());
    }
}
