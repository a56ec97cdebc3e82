//! The app: tasks and their contexts, calls, routing, settings and results. It knows no driver and runs no task.

pub mod app;
pub mod builder;
pub mod builtin_tasks;
pub mod call;
pub mod canvas;
pub mod config;
pub mod context;
pub mod control;
pub mod error;
pub mod events;
pub mod failure;
mod failure_of_error;
pub mod macro_support;
pub mod observe;
pub mod options;
pub mod publish;
pub mod result;
pub mod retry;
pub mod signature;
pub mod task;
pub mod task_error;
