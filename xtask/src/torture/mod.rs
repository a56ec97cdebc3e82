//! `cargo xtask torture`: fault tests that take too long for every run of the tests, which run a tenth of them.

pub(crate) mod canvas;
pub(crate) mod promises;
pub(crate) mod run;
