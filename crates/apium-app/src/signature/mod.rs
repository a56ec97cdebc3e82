//! The typed layer above the canvas.

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
