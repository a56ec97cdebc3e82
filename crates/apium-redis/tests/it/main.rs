//! The driver against a real Redis.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod chords;
mod conformance;
mod faults;
mod health;
mod kit;
mod results;
mod watching;
