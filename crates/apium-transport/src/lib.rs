//! The seams between Apium and the systems that carry its messages and results: [`broker`], [`backend`] and
//! [`driver`]. Beside the contracts live the [`memory`] driver and, behind the feature `conformance`, the suite
//! that every driver runs. [`chord_results`](backend::chord_results) says what the parts of a chord come to; `crash_points` (feature `crash-points`) is where fault tests let a process die.

pub mod address;
pub mod backend;
pub mod broker;
pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "crash-points")]
pub mod crash_points;
pub mod driver;
pub mod error;
pub mod health;
pub mod memory;
