//! Whole workers on the memory driver, with a clock that the tests turn and named signals instead of sleeps.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what fails in a helper of a test fails the test")]

mod acks;
mod chord_parts;
mod eager;
mod health;
mod intake;
mod kit;
mod limits;
mod logs;
mod results;
mod retries;
mod rig;
mod stops;
mod watched;
mod window;
