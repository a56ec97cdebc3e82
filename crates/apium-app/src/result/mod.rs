//! What a caller holds of a result.

pub mod async_result;
pub mod collect;
pub mod get;
pub mod graph;
pub mod group_result;
pub(crate) mod pending;
pub mod progress;
pub mod result_set;
pub mod saved;
pub(crate) mod tree;
pub(crate) mod wait;
