//! The App: tasks and their contexts, calling, routing, settings and results. Names no driver and runs no task.

pub mod arguments;
pub mod error;
pub mod failure;
pub mod options;
pub mod request;
pub mod task;
pub mod task_error;
