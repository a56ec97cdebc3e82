//! `worker -A`: a Celery app in Python is described by a child process, and becomes settings and tasks of the worker.

pub(crate) mod app_settings;
pub(crate) mod app_tasks;
pub(crate) mod children;
pub(crate) mod description;
pub(crate) mod interpreter;
