//! Misplaced attributes of modules and error types.

#![allow(unused)]

use apium_macros::{task_module, wire_error};

#[task_module]
mod no_namespace {}

#[task_module(namespace = ".tasks")]
mod bad_namespace {}

#[task_module(prefix = "proj")]
mod unknown_option {}

#[task_module(namespace = "proj")]
fn no_module() {}

#[wire_error(py = "ValueError")]
struct NoModule;

#[wire_error(python = "builtins.ValueError")]
struct NoClass;

#[wire_error(py = "builtins.ValueError")]
struct Generic<T>(T);

#[wire_error(py = "builtins.ValueError")]
fn no_type() {}

fn main() {}
