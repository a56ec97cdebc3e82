//! The driver against a real Redis.

#![expect(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

mod conformance;
