//! Runs that wait for a time: for their eta, or for their turn under a rate limit.

use std::time::Duration;

use apium_transport::clock::{Clock, Moment};
use jiff::Timestamp;

use crate::limits::delayed_runs::DelayedRuns;
use crate::limits::rate_limit::RateLimited;

/// Runs that may not start yet.
#[derive(Debug)]
pub(crate) struct WaitingRuns<R> {
    pub(crate) delayed: DelayedRuns<R>,
    pub(crate) limited: RateLimited<R>,
}

impl<R> Default for WaitingRuns<R> {
    fn default() -> Self {
        Self { delayed: DelayedRuns::default(), limited: RateLimited::default() }
    }
}

impl<R> WaitingRuns<R> {
    /// When the first of the runs may start, if one waits.
    pub(crate) fn next_due(&self) -> Option<NextDue> {
        NextDue::of(self.limited.next_start(), self.delayed.next_due())
    }

    /// How many runs wait.
    pub(crate) fn len(&self) -> usize {
        self.limited.len() + self.delayed.len()
    }

    /// How many runs wait for a later time than the present. Where one run of a kind is due, none of that kind counts.
    pub(crate) fn not_due(&self, clock: &Clock) -> usize {
        let has_turn = self.limited.next_start().is_none_or(|turn| turn <= clock.moment());
        let has_eta = self.delayed.next_due().is_none_or(|eta| eta <= clock.now());
        let limited = if has_turn { 0 } else { self.limited.len() };
        let delayed = if has_eta { 0 } else { self.delayed.len() };
        limited + delayed
    }

    /// Takes all runs.
    pub(crate) fn drain(&mut self) -> Vec<R> {
        let mut runs = self.limited.drain();
        runs.extend(self.delayed.drain());
        runs
    }
}

/// The present on both sides of a clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Present {
    pub(crate) now: Timestamp,
    pub(crate) moment: Moment,
}

impl Present {
    /// The present of this clock.
    pub(crate) fn of(clock: &Clock) -> Self {
        Self { now: clock.now(), moment: clock.moment() }
    }

    /// The present where something depends on it, and else a time at which nothing is due. So most runs do not read the
    /// clock, which would be done under the lock of the run queue.
    pub(crate) fn where_it_matters(clock: &Clock, matters: bool) -> Self {
        if matters { Self::of(clock) } else { Self { now: Timestamp::MIN, moment: Moment::FIRST } }
    }
}

/// When the first of the runs that wait may start: the earliest turn under a rate limit or end of a hold, on the
/// monotonic side of the clock, and the earliest eta, which is a time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NextDue {
    turn: Option<Moment>,
    eta: Option<Timestamp>,
}

impl NextDue {
    /// The earlier of the two; `None` where there is neither.
    pub(crate) fn of(turn: Option<Moment>, eta: Option<Timestamp>) -> Option<Self> {
        (turn.is_some() || eta.is_some()).then_some(Self { turn, eta })
    }

    /// Whether it has come.
    pub(crate) fn has_come(self, clock: &Clock) -> bool {
        self.turn.is_some_and(|turn| turn <= clock.moment()) || self.eta.is_some_and(|eta| eta <= clock.now())
    }

    /// Waits until it comes. Cancel-safe.
    pub(crate) async fn wait(self, clock: &Clock) {
        let turn = async {
            match self.turn {
                Some(turn) => clock.sleep_until_moment(turn).await,
                None => std::future::pending().await,
            }
        };
        let eta = async {
            match self.eta {
                Some(eta) => clock.sleep_until(eta).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = turn => {}
            () = eta => {}
        }
    }

    /// How far away it is, if nobody sets the clock; zero when it has come.
    pub(crate) fn remaining(self, clock: &Clock) -> Duration {
        let turn = self.turn.map(|turn| turn.saturating_since(clock.moment()));
        let eta = self.eta.map(|eta| Duration::try_from(clock.now().duration_until(eta)).unwrap_or_default());
        [turn, eta].into_iter().flatten().min().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_turn_follows_the_monotonic_side_of_the_clock_and_an_eta_the_time_of_day() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let hour = Duration::from_secs(3600);
        let turn = NextDue { turn: Some(clock.moment().saturating_add(hour)), eta: None };
        let eta = NextDue { turn: None, eta: Some(Timestamp::UNIX_EPOCH + hour) };
        let both = NextDue { turn: turn.turn, eta: eta.eta };
        assert_eq!((turn.remaining(&clock), eta.remaining(&clock), both.remaining(&clock)), (hour, hour, hour));
        clock.set(Timestamp::UNIX_EPOCH + hour);
        assert!(!turn.has_come(&clock) && eta.has_come(&clock) && both.has_come(&clock));
        assert!(turn.wait(&clock).now_or_never().is_none() && both.wait(&clock).now_or_never().is_some());
        clock.set(Timestamp::UNIX_EPOCH - hour);
        clock.advance(hour);
        assert!(turn.has_come(&clock) && !eta.has_come(&clock) && both.has_come(&clock));
        assert_eq!((turn.remaining(&clock), eta.remaining(&clock)), (Duration::ZERO, hour));
    }
}
