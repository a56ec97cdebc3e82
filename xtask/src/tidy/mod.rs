//! `cargo xtask tidy`: the rules of layout that a compiler does not check.

pub(crate) mod absent;
pub(crate) mod check;
pub(crate) mod finding;
pub(crate) mod floors;
pub(crate) mod graph;
pub(crate) mod imports;
pub(crate) mod layers;
pub(crate) mod paths;
pub(crate) mod prose;
pub(crate) mod roots;
pub(crate) mod rust;
pub(crate) mod size;
pub(crate) mod words;
