//! Workflows with types: signatures, groups and joins that only compile where an output fits the next task. Below them
//! is [`canvas`](crate::canvas), which has no types.

pub mod chain;
pub(crate) mod display;
pub mod fits;
pub mod group;
pub mod join;
pub mod map;
pub(crate) mod operators;
pub(crate) mod parallel;
pub(crate) mod partial;
pub mod signature;
