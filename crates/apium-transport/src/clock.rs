//! The clock: the machine's, or one that tests turn. Nothing else of the project reads wall time.
//!
//! A clock has two sides. The wall side ([`Clock::now`]) is the time of day: somebody may set it, forward or back. The
//! monotonic side ([`Clock::moment`]) only counts up, and stands still while the machine sleeps. What happens at an
//! instant that was written down (an eta, an expiry) follows the wall side. How long something takes (a lease, a time
//! limit, a rate) follows the monotonic side.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

/// A wait for an instant of the wall side is cut into pieces of this length, because the time of day may be set
/// meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// From here on the monotonic side of the machine's clock counts.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Tells the time and waits for it. Clones share the clock.
#[derive(Debug, Clone)]
pub struct Clock(Kind);

#[derive(Debug, Clone)]
enum Kind {
    System,
    /// The machine's clock, with its wall side so much ahead.
    Stepping(Arc<watch::Sender<SignedDuration>>),
    Manual(Arc<watch::Sender<Reading>>),
}

/// Both sides of a manual clock, and how many seeds it has given.
#[derive(Debug, Clone, Copy)]
struct Reading {
    wall: Timestamp,
    moment: Moment,
    seeds: u64,
}

/// An instant on the monotonic side of a clock. It means something only to the clocks of the same process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(Duration);

impl Moment {
    /// The moment before all others.
    pub const FIRST: Self = Self(Duration::ZERO);

    /// The moment `span` later, or the last one.
    #[must_use]
    pub fn saturating_add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }

    /// How long after `earlier` it is; zero when it is before.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
fn wall() -> Timestamp {
    Timestamp::now()
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Kind::System)
    }

    /// The machine's clock, for tests: [`set`](Self::set) sets its wall side, as somebody may set the clock of the
    /// machine.
    pub fn stepping() -> Self {
        Self(Kind::Stepping(Arc::new(watch::Sender::new(SignedDuration::ZERO))))
    }

    /// A manual clock: it shows `start` until [`advance`](Self::advance) turns it.
    pub fn manual(start: Timestamp) -> Self {
        Self(Kind::Manual(Arc::new(watch::Sender::new(Reading { wall: start, moment: Moment::FIRST, seeds: 0 }))))
    }

    /// Whether this is a manual clock.
    pub fn is_manual(&self) -> bool {
        matches!(self.0, Kind::Manual(_))
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Kind::System => wall(),
            Kind::Stepping(ahead) => wall().saturating_add(*ahead.borrow()).unwrap_or(Timestamp::MAX),
            Kind::Manual(reading) => reading.borrow().wall,
        }
    }

    /// The present on the monotonic side.
    pub fn moment(&self) -> Moment {
        match &self.0 {
            // tokio's instants are those of its timers, also where a test has paused them.
            Kind::System | Kind::Stepping(_) => {
                Moment(tokio::time::Instant::now().into_std().saturating_duration_since(*START))
            }
            Kind::Manual(reading) => reading.borrow().moment,
        }
    }

    /// A seed for random numbers that are to be the same in each run of a test: 1, 2, 3, … of a manual clock, and
    /// `None` of the machine's.
    pub fn seed(&self) -> Option<u64> {
        let Kind::Manual(reading) = &self.0 else { return None };
        let mut seed = 0;
        // Whoever waits for the clock is not woken.
        reading.send_if_modified(|reading| {
            reading.seeds += 1;
            seed = reading.seeds;
            false
        });
        Some(seed)
    }

    /// Turns a manual clock forward, both sides, and wakes those who wait for it. Does nothing to the machine's clock.
    pub fn advance(&self, by: Duration) {
        if let Kind::Manual(reading) = &self.0 {
            reading.send_modify(|reading| {
                reading.wall = reading.wall.saturating_add(by).unwrap_or(Timestamp::MAX);
                reading.moment = reading.moment.saturating_add(by);
            });
        }
    }

    /// Sets the wall side alone, forward or back, and wakes those who wait for it. Does nothing to the clock of
    /// [`system`](Self::system).
    pub fn set(&self, to: Timestamp) {
        match &self.0 {
            Kind::System => {}
            Kind::Stepping(ahead) => drop(ahead.send_replace(to.duration_since(wall()))),
            Kind::Manual(reading) => reading.send_modify(|reading| reading.wall = to),
        }
    }

    /// Waits until the wall side shows `when` or later. Cancel-safe.
    pub async fn sleep_until(&self, when: Timestamp) {
        match &self.0 {
            Kind::Manual(reading) => {
                let mut seen = reading.subscribe();
                // The sender is owned by `self`, so waiting cannot fail.
                let _ = seen.wait_for(|reading| reading.wall >= when).await;
            }
            Kind::System => loop {
                let Some(left) = self.until(when) else { return };
                tokio::time::sleep(left.min(LONGEST_WAIT)).await;
            },
            Kind::Stepping(ahead) => {
                let mut steps = ahead.subscribe();
                loop {
                    let Some(left) = self.until(when) else { return };
                    // As above, the sender lives as long as `self`.
                    let _ = tokio::time::timeout(left.min(LONGEST_WAIT), steps.changed()).await;
                }
            }
        }
    }

    /// How far away an instant of the wall side is; `None` when it has come.
    fn until(&self, when: Timestamp) -> Option<Duration> {
        Duration::try_from(self.now().duration_until(when)).ok().filter(|left| !left.is_zero())
    }

    /// Waits until the monotonic side shows `when` or later. Cancel-safe.
    pub async fn sleep_until_moment(&self, when: Moment) {
        match &self.0 {
            Kind::System | Kind::Stepping(_) => match START.checked_add(when.0) {
                Some(when) => tokio::time::sleep_until(when.into()).await,
                None => std::future::pending().await,
            },
            Kind::Manual(reading) => {
                let mut seen = reading.subscribe();
                // The sender is owned by `self`, so waiting cannot fail.
                let _ = seen.wait_for(|reading| reading.moment >= when).await;
            }
        }
    }

    /// Waits for `span` of the monotonic side. Cancel-safe.
    pub async fn sleep(&self, span: Duration) {
        self.sleep_until_moment(self.moment().saturating_add(span)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use jiff::Timestamp;

    use super::Clock;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_manual_clock_stands_until_it_is_turned() {
        let clock = Clock::manual(at(100));
        let shared = clock.clone();
        assert!(clock.is_manual());
        assert_eq!(clock.now(), at(100));
        shared.advance(Duration::from_millis(1500));
        assert_eq!(clock.now().as_millisecond(), 101_500);
        clock.advance(Duration::MAX);
        assert_eq!(clock.now(), Timestamp::MAX);
    }

    #[test]
    fn a_manual_sleep_ends_at_its_instant_and_not_before() {
        let clock = Clock::manual(at(100));
        let mut until = Box::pin(clock.sleep_until(at(110)));
        let mut span = Box::pin(clock.sleep(Duration::from_secs(10)));
        for _ in 0..2 {
            assert!((&mut until).now_or_never().is_none());
            assert!((&mut span).now_or_never().is_none());
            clock.advance(Duration::from_millis(4_999));
        }
        clock.advance(Duration::from_millis(1));
        assert!((&mut until).now_or_never().is_none());
        clock.advance(Duration::from_millis(1));
        assert!(until.now_or_never().is_some());
        assert!(span.now_or_never().is_some());
    }

    #[test]
    fn a_manual_clock_gives_the_same_seeds_each_time() {
        let clock = Clock::manual(at(100));
        assert_eq!([clock.seed(), clock.clone().seed(), clock.seed()], [Some(1), Some(2), Some(3)]);
        assert_eq!(Clock::manual(at(100)).seed(), Some(1));
        assert!(Clock::system().seed().is_none() && Clock::stepping().seed().is_none());
    }

    #[test]
    fn a_sleep_until_a_past_instant_is_over() {
        let clock = Clock::manual(at(100));
        assert!(clock.sleep_until(at(100)).now_or_never().is_some());
        assert!(clock.sleep_until(at(-5)).now_or_never().is_some());
        assert!(Clock::system().sleep_until(at(0)).now_or_never().is_some());
    }

    #[tokio::test]
    async fn turning_a_manual_clock_wakes_every_sleeper() {
        let clock = Clock::manual(at(0));
        let sleepers = (1..=20).map(|second| {
            let clock = clock.clone();
            async move {
                clock.sleep_until(at(second)).await;
                assert!(clock.now() >= at(second));
            }
        });
        let turn = async {
            for _ in 0..20 {
                tokio::task::yield_now().await;
                clock.advance(Duration::from_secs(1));
            }
        };
        futures_util::future::join(futures_util::future::join_all(sleepers), turn).await;
    }

    #[test]
    fn a_manual_clock_that_is_set_wakes_who_waits_for_the_time_of_day_and_nobody_else() {
        let clock = Clock::manual(at(100));
        let began = clock.moment();
        let mut span = Box::pin(clock.sleep(Duration::from_secs(10)));
        let mut until = Box::pin(clock.sleep_until(at(110)));
        clock.set(at(105));
        assert!((&mut until).now_or_never().is_none());
        clock.set(at(1_000_000));
        assert!(until.now_or_never().is_some());
        assert!((&mut span).now_or_never().is_none(), "a span ended because somebody set the time of day");
        assert_eq!(clock.moment(), began);
        clock.set(at(0));
        clock.advance(Duration::from_secs(10));
        assert!(span.now_or_never().is_some(), "a span does not end because somebody set the time of day back");
        assert_eq!(clock.now(), at(10));
        assert_eq!(clock.moment().saturating_since(began), Duration::from_secs(10));
        assert_eq!(began.saturating_since(clock.moment()), Duration::ZERO);
    }

    #[tokio::test]
    async fn the_wall_side_of_a_stepping_clock_can_be_set_while_somebody_waits_for_it() {
        let clock = Clock::stepping();
        assert!(!clock.is_manual());
        let (began, day) = (clock.moment(), Duration::from_secs(86_400));
        let due = clock.now().saturating_add(day).unwrap();
        let set = async {
            tokio::task::yield_now().await;
            clock.set(due);
        };
        let slept = futures_util::future::join(clock.sleep_until(due), set);
        tokio::time::timeout(Duration::from_secs(20), slept).await.unwrap();
        assert!(clock.now() >= due);
        clock.set(at(0));
        assert!(clock.now() < at(1_000));
        assert!(clock.moment() >= began && clock.moment().saturating_since(began) < day);
        clock.sleep(Duration::from_millis(1)).await;
        assert!(clock.moment().saturating_since(began) >= Duration::from_millis(1));
    }

    #[tokio::test]
    async fn the_machines_clock_goes_by_itself() {
        let clock = Clock::system();
        let start = clock.now();
        clock.advance(Duration::from_secs(1_000_000));
        clock.set(at(0));
        let due = start.saturating_add(Duration::from_millis(5)).unwrap();
        clock.sleep_until(due).await;
        assert!(clock.now() >= due);
        assert!(clock.now() < start.saturating_add(Duration::from_secs(1_000)).unwrap());
        assert!(!clock.is_manual());
    }
}
