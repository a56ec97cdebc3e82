//! Compiles the programs of the README, which is no part of the crate.

/// The README.
#[doc = include_str!("../../../README.md")]
struct Readme;
