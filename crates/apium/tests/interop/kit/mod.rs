//! What the tests share: both sides as callers, workers and readers of results, and the log of runs.

#[macro_use]
pub(crate) mod deployment;
#[macro_use]
pub(crate) mod pair;

pub(crate) mod flower;
pub(crate) mod json_texts;
pub(crate) mod numbers;
pub(crate) mod python_client;
pub(crate) mod read_result;
pub(crate) mod run_log;
pub(crate) mod rust_client;
pub(crate) mod shape;
pub(crate) mod side;
pub(crate) mod worker;
