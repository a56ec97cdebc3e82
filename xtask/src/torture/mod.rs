//! `cargo xtask torture`: fault tests in full. The tests of the harness run a small share of each.

pub(crate) mod canvas;
pub(crate) mod guarantees;
pub(crate) mod run;
