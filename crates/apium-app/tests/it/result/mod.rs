//! Results as their caller reads them: of one task, of groups, and of whole workflows.

pub(crate) mod delivered;
pub(crate) mod outages;
pub(crate) mod progress;
pub(crate) mod results;
pub(crate) mod sets;
pub(crate) mod states;
pub(crate) mod trees;
pub(crate) mod watched_backend;
