//! Workflows: what joins, what is sent, how large it is.

pub(crate) mod groups;
pub(crate) mod rules;
pub(crate) mod size;
pub(crate) mod typed;
pub(crate) mod vectors;
