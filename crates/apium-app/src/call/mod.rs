//! Calls: one call, many at once, calls by name, calls of task classes, and the methods that set their options.

pub mod batch;
pub mod by_name;
pub mod call;
pub mod class_calls;
pub mod setters;
