//! The conformance suite: what every driver has to do, one case at a time. Each case is a public function that takes a
//! [`Fixture`] with a fresh store and panics where the driver breaks a sentence of the contracts.
//!
//! A driver runs all of them by one line in its integration tests, which makes one test of each case:
//!
//! ```text
//! async fn fixture() -> apium_transport::conformance::Fixture { … }
//! apium_transport::conformance_tests!(crate::conformance::fixture);
//! ```
//!
//! No case sleeps: time passes on the fixture's clock, and every wait has a bound. A case that needs an ability which the
//! driver's capabilities deny returns at once.

#![expect(clippy::expect_used, reason = "a case fails by panicking")]

pub mod backend;
pub mod broker;
pub(crate) mod fixture;
pub mod follow_ups;
pub mod handles;
pub(crate) mod kit;
pub(crate) mod list;

pub use crate::conformance::fixture::{Fixture, Handles};
