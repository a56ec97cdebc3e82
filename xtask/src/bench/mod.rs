//! `cargo xtask bench`: runs the programs of `harness/`, takes medians and writes the tables under `docs/`.

pub(crate) mod campaign;
pub(crate) mod figures;
pub(crate) mod goal;
pub(crate) mod machine;
pub(crate) mod plan;
pub(crate) mod plans;
mod quiet;
pub(crate) mod scaling;
pub(crate) mod scaling_example;
pub(crate) mod table;
