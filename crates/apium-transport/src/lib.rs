//! The seams between Apium and the systems that carry its messages and results: [`broker`], [`consumer`], [`backend`],
//! [`chord`] with [`sequel`], [`dead`], [`driver`]. Beside the contracts live the [`memory`] driver and, behind the feature `conformance`, the suite
//! that every driver runs.

pub mod address;
pub mod backend;
pub mod broker;
pub mod chord;
pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod consumer;
pub mod dead;
pub mod driver;
pub mod error;
pub mod health;
pub mod matching;
pub mod memory;
pub mod outgoing;
pub mod sequel;
pub mod topology;
