//! An outage: a time in which a store fails. How long to pause before the next attempt, and what to write into the log.

use std::time::Duration;

use apium_transport::error::Error;

use crate::shutdown::faults::Faults;

/// The pause after the first error. It doubles with each error that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause while a store cannot be reached or cannot serve. It is short, so that the first task starts, and
/// what has ended is settled, soon after the store is back, however long it was away.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause after an error that stays until somebody mends its cause.
const LONGEST_PAUSE_REFUSED: Duration = Duration::from_secs(5);
/// In a long outage a warning is written at most this often.
const SELDOM: Duration = Duration::from_secs(60);

/// A time in which a broker or a result backend fails. It says how long to pause between attempts, and which errors to
/// log.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    began: Option<tokio::time::Instant>,
    pause: Duration,
    /// How long the outage must have lasted for the next warning.
    next_warning: Duration,
    /// The fault that the worker has meanwhile.
    fault: Option<OutageFault>,
}

/// A fault that the worker has as long as this exists.
#[derive(Debug)]
struct OutageFault {
    faults: Faults,
    name: String,
}

impl Drop for OutageFault {
    fn drop(&mut self) {
        self.faults.clear(&self.name);
    }
}

impl Outage {
    /// The pause before the next attempt. Attempts begin at least this long after each other, so nothing is added to
    /// one that took long itself.
    pub(crate) fn pause(&mut self, error: &Error, attempt_began: tokio::time::Instant) -> Duration {
        let longest = if error.is_retryable() { LONGEST_PAUSE } else { LONGEST_PAUSE_REFUSED };
        self.began.get_or_insert(attempt_began);
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, longest);
        self.pause.saturating_sub(attempt_began.elapsed())
    }

    /// Says that the worker has a fault until this outage is over. `name` is that of what fails.
    pub(crate) fn set_fault(&mut self, faults: &Faults, name: String, reason: String) {
        faults.set(&name, reason);
        self.fault.get_or_insert_with(|| OutageFault { faults: faults.clone(), name });
    }

    /// Whether to warn of an error now: of the first one, and then each time that the outage has lasted twice as long.
    pub(crate) fn warns(&mut self) -> bool {
        let lasted = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        let warns = lasted >= self.next_warning;
        if warns {
            self.next_warning = lasted + lasted.clamp(Duration::from_secs(1), SELDOM);
        }
        warns
    }
}

#[cfg(test)]
mod tests {
    use apium_transport::error::ErrorKind;
    use tokio::time::Instant;

    use super::*;

    /// The pauses and the warnings of an outage in which each attempt fails after `takes`.
    async fn outage(lasts: Duration, kind: ErrorKind, takes: Duration) -> (Vec<Duration>, usize) {
        let (mut outage, began) = (Outage::default(), Instant::now());
        let (mut pauses, mut warnings) = (Vec::new(), 0);
        while began.elapsed() < lasts {
            let attempt = Instant::now();
            tokio::time::advance(takes).await;
            let pause = outage.pause(&Error::new(kind, "fetch"), attempt);
            warnings += usize::from(outage.warns());
            tokio::time::advance(pause).await;
            pauses.push(pause);
        }
        (pauses, warnings)
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_was_away_for_long_is_tried_as_soon_as_one_that_was_away_for_a_second() {
        for lasts in [1, 3600].map(Duration::from_secs) {
            let (pauses, _) = outage(lasts, ErrorKind::Connection, Duration::from_millis(1)).await;
            assert!(pauses[0] <= FIRST_PAUSE && pauses.iter().all(|pause| *pause <= LONGEST_PAUSE), "{pauses:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_took_long_is_followed_by_the_next_at_once() {
        let (pauses, _) = outage(Duration::from_secs(60), ErrorKind::Timeout, Duration::from_secs(5)).await;
        assert!(pauses.iter().all(Duration::is_zero), "{pauses:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_somebody_has_to_mend_is_tried_seldom() {
        let (pauses, _) = outage(Duration::from_secs(60), ErrorKind::Refused, Duration::ZERO).await;
        assert_eq!(pauses.last(), Some(&LONGEST_PAUSE_REFUSED));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_outage_warns_seldom() {
        let (pauses, warnings) = outage(Duration::from_secs(3600), ErrorKind::Connection, Duration::ZERO).await;
        assert!(pauses.len() > 7000 && (10..80).contains(&warnings), "{} {warnings}", pauses.len());
        let (_, warnings) = outage(Duration::from_millis(150), ErrorKind::Connection, Duration::ZERO).await;
        assert_eq!(warnings, 1, "the first error is shown at once");
    }
}
