//! The driver against a real RabbitMQ.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod broadcasts;
mod captured;
mod conformance;
mod crashes;
mod delays;
#[cfg(feature = "tls")]
mod encrypted;
mod kit;
mod outages;
mod records;
mod refusals;
mod results;
mod topology;
