//! Operating a fleet: the tools of a Celery operator ask and steer a Rust worker, and Apium's a Python worker.

mod apium_commands;
mod apium_events;
mod celery_commands;
mod commands;
mod events;
mod flower_control;
mod flower_views;
