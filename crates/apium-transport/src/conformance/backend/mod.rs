//! Cases for result backends.

pub mod atomic;
pub mod chords;
pub mod results;
pub mod watching;
