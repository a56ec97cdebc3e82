//! The app, what it starts with, and how code that is not async uses it.

pub mod app;
pub mod blocking;
pub mod defaults;
pub mod eager_runner;
pub mod early_acks;
pub mod misnamed;
pub mod no_broker;
pub mod unconsumed;
