//! The seams between Apium and the systems that carry its messages and results: [`broker`], [`consumer`], [`backend`],
//! [`chord`] with [`sequel`], [`dead`], [`driver`]. Beside the contracts live the [`memory`] driver and, behind the feature `conformance`, the suite
//! that every driver runs. [`join`] says what the parts of a chord come to; `crash` (feature `crash-points`) is where fault tests let a process die.

pub mod address;
pub mod backend;
pub mod broker;
pub mod chord;
pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod consumer;
#[cfg(feature = "crash-points")]
pub mod crash;
pub mod dead;
pub mod driver;
pub mod error;
pub mod health;
pub mod join;
pub mod matching;
pub mod memory;
pub mod outgoing;
pub mod sequel;
pub mod topology;
