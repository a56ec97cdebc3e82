//! `user-code`: code of the user's that panics or hangs, at every place where a worker calls it, costs its own task
//! only. Both drivers are tested with the same app, and Celery beside it with exceptions of Python.

pub mod app;
pub mod broken;
pub mod places;
pub mod stops;
pub mod tasks;
pub mod trial;
