//! Whether and when a task runs again.

pub mod builder;
pub mod message;
pub mod policy;
