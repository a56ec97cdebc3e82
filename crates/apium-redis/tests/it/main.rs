//! The driver against a real Redis.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod backend;
mod brokers;
mod conformance;
mod connection;
mod consumer;
mod kit;
mod kombu_keys;
mod options;
mod settle;
