//! Runs the programs of this crate as other programs would.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod redis;
mod torture;
