//! The driver against a real Redis.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod backend;
mod broadcasts;
mod brokers;
mod conformance;
mod connection;
mod consumer;
mod fleet;
mod kit;
mod kombu_keys;
mod options;
mod settle;
