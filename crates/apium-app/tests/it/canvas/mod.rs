//! Workflows: how signatures are joined, which messages they become, and how large those are.

pub(crate) mod each;
mod groups;
pub(crate) mod rows;
pub(crate) mod rules;
pub(crate) mod size;
pub(crate) mod typed;
pub(crate) mod vectors;
