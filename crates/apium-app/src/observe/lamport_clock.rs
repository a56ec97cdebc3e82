//! The logical clock of an app (Celery: `app.clock`), by which monitors order events of many processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A Lamport clock: it counts up with each event that is sent, and past each one that is received. Cheap to clone; all
/// clones are the same clock.
#[derive(Debug, Clone, Default)]
pub struct LamportClock(Arc<AtomicU64>);

impl LamportClock {
    /// Counts up, for something that is about to be sent, and returns the new time.
    pub fn forward(&self) -> u64 {
        self.forward_by(1)
    }

    /// Counts up by so many, for things that are about to be sent one after the other, and returns the first of their
    /// times.
    pub fn forward_by(&self, count: u64) -> u64 {
        self.0.fetch_add(count, Ordering::AcqRel) + 1
    }

    /// Sets the clock past the time of something that was received, and returns the new time. A time that only a broken
    /// sender has (above `i64::MAX`) is not taken over.
    pub fn adjust(&self, received: u64) -> u64 {
        let received = if i64::try_from(received).is_ok() { received } else { 0 };
        let next = |own: u64| Some(own.max(received) + 1);
        // The closure always returns a value, so there is no error.
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).map_or(received, |own| own.max(received)) + 1
    }

    /// The time now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::LamportClock;

    #[test]
    fn it_counts_up_and_past_what_it_received() {
        let clock = LamportClock::default();
        assert_eq!((clock.forward(), clock.forward()), (1, 2));
        assert_eq!(clock.adjust(10), 11);
        assert_eq!(clock.adjust(3), 12);
        assert_eq!(clock.adjust(u64::MAX), 13, "a clock that cannot be counted on is not taken over");
        assert_eq!((clock.clone().forward(), clock.value()), (14, 14));
        assert_eq!((clock.forward_by(2), clock.forward()), (15, 17));
    }
}
