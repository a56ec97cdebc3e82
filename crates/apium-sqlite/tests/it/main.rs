//! Tests of the SQLite driver: the conformance suite, several processes on one file, and bad files.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod broadcasts;
mod chords;
mod clocks;
mod conformance;
mod crashes;
mod disk;
mod files;
mod kit;
mod locks;
mod processes;
