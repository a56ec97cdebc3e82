//! The app, and the ways to reach it.

pub mod app;
pub mod blocking;
pub(crate) mod current_app;
pub mod defaults;
pub mod eager_runner;
pub mod no_broker;
