//! `cargo xtask tidy`: the rules of layout, names and prose that a compiler does not check.

pub(crate) mod check;
pub(crate) mod finding;
pub(crate) mod layers;
pub(crate) mod naming;
pub(crate) mod producer;
pub(crate) mod source;
pub(crate) mod structure;
pub(crate) mod text;
