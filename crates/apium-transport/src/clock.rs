//! The clock: the machine's, or one that tests turn by hand. The only place of the project that reads wall time.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

/// Tells the time and waits for it. Cloning shares the clock.
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

    /// A clock that stands at `start` until [`advance`](Self::advance) moves it.
    pub fn manual(start: Timestamp) -> Self {
        Self(Kind::Manual(Arc::new(watch::Sender::new(start))))
    }

    /// Whether this is a clock turned by hand.
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

    /// Moves a manual clock forward and wakes who waits for it. Does nothing to the machine's clock.
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
                    // A long wait is cut so that a wall clock that was set is followed.
                    Ok(left) if !left.is_zero() => tokio::time::sleep(left.min(Duration::from_secs(30))).await,
                    _ => return,
                }
            },
            Kind::Manual(now) => {
                let mut seen = now.subscribe();
                // The sender lives in `self`, so waiting cannot fail.
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
