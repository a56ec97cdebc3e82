//! Calling, publishing, results and contexts, through the public API and the memory driver.

#![expect(clippy::unwrap_used, reason = "what fails in a helper of a test fails the test")]

mod building;
mod calling;
mod canvas_rules;
mod canvas_size;
mod canvas_typed;
mod canvas_vectors;
mod compile_fail;
mod context;
mod delivered_results;
mod groups;
mod kit;
mod progress;
mod publishing;
mod result_sets;
mod result_trees;
mod results;
mod states;
mod vectors;
mod watched_backend;
