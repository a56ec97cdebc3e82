//! Tests of calls, publishing, workflows, results and contexts, through the public API and the memory driver.

#![expect(clippy::unwrap_used, reason = "an error in a test fails it")]

mod building;
mod calling;
mod canvas;
mod context;
mod control;
mod errors;
mod kit;
mod layers;
mod publishing;
pub(crate) mod result;
mod vectors;
