//! Compiles the programs of the README as doc tests. The module exists only for them.

/// The README.
#[doc = include_str!("../../../README.md")]
struct Readme;
