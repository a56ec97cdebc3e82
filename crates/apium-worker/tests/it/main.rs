//! Whole workers on the memory driver. The tests turn the clock themselves, and wait for gates instead of sleeping.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what fails in a helper of a test fails the test")]

mod eager;
mod health;
mod kit;
mod limits;
mod logs;
mod pipeline;
mod rig;
mod stops;
mod switched_driver;
