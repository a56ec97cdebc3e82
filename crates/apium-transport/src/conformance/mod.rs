//! The conformance suite: what every driver has to do. Each case is a public function that takes a [`Fixture`] with an
//! empty store and panics where the driver breaks a sentence of the seams.
//!
//! A driver runs all of them from its integration tests, with one macro that makes a test of each case:
//!
//! ```text
//! async fn fixture() -> apium_transport::conformance::Fixture { … }
//!
//! apium_transport::conformance_tests! {
//!     crate::conformance::fixture,
//!     lacks: [LargerFirst],
//!     skips: [publishing::a_larger_priority_overtakes, publishing::the_largest_priority_caps],
//! }
//! ```
//!
//! `lacks` names each [`Ability`] that the driver lacks, and `skips` each case that is skipped for that. One more test
//! fails unless both lists are exact, so that a driver neither forgets what it lacks nor hides a case.
//!
//! No case sleeps. On a manual clock a case turns the clock; on the machine's clock it waits, with a bound, for what
//! the time brings.

#![expect(clippy::expect_used, reason = "a case fails by panicking")]

pub(crate) mod ability;
pub mod backend;
pub mod broker;
pub(crate) mod fixture;
pub mod follow_ups;
pub mod handles;
pub(crate) mod kit;
pub(crate) mod list;

pub use crate::conformance::ability::{Ability, Case, check, is_skipped};
pub use crate::conformance::fixture::{Fixture, Handles};
