//! The App: tasks and their contexts, calling, routing, settings and results. Names no driver and runs no task.

pub mod arguments;
pub mod binding;
pub mod context;
pub mod current;
pub mod deferred;
pub mod effective;
pub mod error;
pub mod failure;
pub mod inject;
pub mod limits;
pub mod options;
pub mod rate_limit;
pub mod record;
pub mod registered_task;
pub mod registry;
pub mod request;
pub mod retry;
pub mod retry_builder;
pub mod state_map;
pub mod task;
pub mod task_error;
pub mod task_impl;
pub mod wire_args;
