//! A call, and the ways to make one.

pub mod batch;
pub mod by_name;
pub mod call;
pub mod class_calls;
pub mod setters;
