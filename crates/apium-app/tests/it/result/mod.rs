//! Results as their caller sees them.

pub(crate) mod delivered;
pub(crate) mod progress;
pub(crate) mod results;
pub(crate) mod sets;
pub(crate) mod states;
pub(crate) mod trees;
pub(crate) mod watched_backend;
