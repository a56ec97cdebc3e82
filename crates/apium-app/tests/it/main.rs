//! Calling, publishing, results and contexts, through the public API and the memory driver.

#![expect(clippy::unwrap_used, reason = "what fails in a helper of a test fails the test")]

mod building;
mod calling;
mod canvas;
mod compile_fail;
mod context;
mod errors;
mod kit;
mod publishing;
mod result;
mod vectors;
