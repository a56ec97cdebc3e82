//! The logical clock of an app (Lamport's): it orders events and commands of processes whose clocks differ.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a sender may claim at most. A larger value comes from no clock that counts events, and would leave no room to
/// count on.
const MOST: u64 = 1 << 53;

/// A counter that every message of remote control and every event moves on (Celery: `app.clock`). Cheap to clone; all
/// clones are the same clock.
#[derive(Debug, Clone, Default)]
pub struct LamportClock(Arc<AtomicU64>);

impl LamportClock {
    /// The present value; 0 at first.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one on, before something is sent. Returns the new value.
    pub fn forward(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Takes over what another sender has sent: the larger of both values, and one more. Returns the new value. A value
    /// that no counter reaches is ignored.
    pub fn adjust(&self, received: u64) -> u64 {
        let received = if received > MOST { 0 } else { received };
        let next = |value: u64| Some(value.max(received) + 1);
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            Ok(earlier) | Err(earlier) => earlier.max(received) + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LamportClock;

    #[test]
    fn it_is_ahead_of_all_that_was_sent_and_received() {
        let clock = LamportClock::default();
        assert_eq!((clock.value(), clock.forward()), (0, 1));
        assert_eq!((clock.adjust(7), clock.adjust(3), clock.clone().forward()), (8, 9, 10));
        assert_eq!((clock.adjust(u64::MAX), clock.forward()), (11, 12));
    }
}
