//! The seams between Apium and the systems that carry its messages and results: [`broker`], [`backend`] and [`driver`].
//! With them live the [`memory`] driver; the suite that every driver runs, `conformance` (a feature); and the named
//! places at which fault tests kill a process, `crash_points` (feature `crash-points`).

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
pub mod option_value;
pub mod raw_options;
