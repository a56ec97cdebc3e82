//! The peers themselves start, fail on request, and end in time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

mod celery;
mod proxy;
mod rabbitmq_server;
mod redis_server;

/// Waits for a condition, within 30 seconds.
fn wait_until(holds: impl Fn() -> bool, what: &str) {
    let until = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::yield_now();
    }
}
