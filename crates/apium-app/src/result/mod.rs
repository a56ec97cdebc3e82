//! Results as their caller reads them: of one task, of groups and of whole workflows.

pub mod async_result;
pub mod collect;
mod dead_replay;
pub mod get;
pub mod graph;
pub mod group_result;
pub(crate) mod pending;
pub mod progress;
pub mod result_set;
mod revoke;
pub mod saved;
pub(crate) mod tree;
pub(crate) mod wait;
