//! Runs the programs of this crate as `cargo xtask` does.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod figures;
mod program;
mod rabbitmq;
mod redis;
mod torture;
