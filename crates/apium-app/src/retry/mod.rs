//! Retries: whether and when a task runs again, and its message.

pub mod builder;
pub mod message;
pub mod policy;
