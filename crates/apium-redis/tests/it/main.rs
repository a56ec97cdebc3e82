//! The driver against a real Redis.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod addresses;
mod bad_addresses;
mod breaks;
mod brokers;
mod chords;
mod clusters;
mod conformance;
#[cfg(feature = "tls")]
mod encrypted;
mod faults;
mod follow_ups;
mod full_memory;
mod health;
mod kit;
mod kombu_keys;
mod kombu_unacked;
mod outbox;
mod refusals;
mod results;
mod sentinels;
mod shared_chords;
mod states;
mod waiting;
mod watching;
mod wrong_types;
