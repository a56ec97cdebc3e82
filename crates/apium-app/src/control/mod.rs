//! Remote control as its caller sees it: commands for workers, and their replies (Celery: `app.control`).

pub mod addressing;
pub mod command;
pub mod control;
pub(crate) mod exchange;
pub(crate) mod fields;
pub mod fleet_change;
pub mod inspect;
pub mod pause;
pub mod queue_info;
pub mod replies;
pub mod revoke;
pub mod task_info;
pub mod worker_stats;
