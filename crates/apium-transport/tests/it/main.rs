//! Integration tests of the seams: the memory driver under the conformance suite, and the suite itself.

#![expect(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

mod conformance;
mod declaring;
