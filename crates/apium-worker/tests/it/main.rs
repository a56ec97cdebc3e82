//! Whole workers on the memory driver. The tests turn the clock themselves, and wait for gates instead of sleeping.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what fails in a helper of a test fails the test")]

mod control;
mod eager;
mod errbacks;
mod health;
mod kit;
mod layers;
mod limits;
mod logs;
mod observing;
mod outages;
mod panics;
mod pipeline;
mod rig;
mod slow_stops;
mod stops;
mod stores;
mod switched_driver;
