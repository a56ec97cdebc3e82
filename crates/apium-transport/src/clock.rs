//! The clock: the machine's, or a manual one for tests. Nothing else of the project reads wall time.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

/// Tells the time and waits for it. Clones share the clock.
#[derive(Debug, Clone)]
pub struct Clock(Kind);

#[derive(Debug, Clone)]
enum Kind {
    System,
    Manual(Arc<watch::Sender<Timestamp>>),
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Kind::System)
    }

    /// A manual clock: it shows `start` until [`advance`](Self::advance) turns it.
    pub fn manual(start: Timestamp) -> Self {
        Self(Kind::Manual(Arc::new(watch::Sender::new(start))))
    }

    /// Whether this is a manual clock.
    pub fn is_manual(&self) -> bool {
        matches!(self.0, Kind::Manual(_))
    }

    /// The current instant.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
            Kind::System => Timestamp::now(),
            Kind::Manual(now) => *now.borrow(),
        }
    }

    /// Turns a manual clock forward and wakes those who wait for it. Does nothing to the machine's clock.
    pub fn advance(&self, by: Duration) {
        if let Kind::Manual(now) = &self.0 {
            now.send_modify(|t| *t = t.saturating_add(by).unwrap_or(Timestamp::MAX));
        }
    }

    /// Waits until the clock shows `when` or later. Cancel-safe.
    pub async fn sleep_until(&self, when: Timestamp) {
        match &self.0 {
            Kind::System => loop {
                let left = self.now().duration_until(when);
                match Duration::try_from(left) {
                    // A long wait is cut into pieces, because the wall clock may be set meanwhile.
                    Ok(left) if !left.is_zero() => tokio::time::sleep(left.min(Duration::from_secs(30))).await,
                    _ => return,
                }
            },
            Kind::Manual(now) => {
                let mut seen = now.subscribe();
                // The sender is owned by `self`, so waiting cannot fail.
                let _ = seen.wait_for(|t| *t >= when).await;
            }
        }
    }

    /// Waits for `span`. Cancel-safe.
    pub async fn sleep(&self, span: Duration) {
        match &self.0 {
            Kind::System => tokio::time::sleep(span).await,
            Kind::Manual(_) => {
                let when = self.now().saturating_add(span).unwrap_or(Timestamp::MAX);
                self.sleep_until(when).await;
            }
        }
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

    #[tokio::test]
    async fn the_machines_clock_goes_by_itself() {
        let clock = Clock::system();
        let start = clock.now();
        clock.advance(Duration::from_secs(1_000_000));
        let due = start.saturating_add(Duration::from_millis(5)).unwrap();
        clock.sleep_until(due).await;
        assert!(clock.now() >= due);
        assert!(clock.now() < start.saturating_add(Duration::from_secs(1_000)).unwrap());
        assert!(!clock.is_manual());
    }
}
