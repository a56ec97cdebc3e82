//! The SQLite driver against its contracts, against other processes, and against bad files.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod chords;
mod conformance;
mod crashes;
mod files;
mod kit;
mod processes;
