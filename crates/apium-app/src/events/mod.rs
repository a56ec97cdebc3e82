//! Events as a monitor sees them: what happens to workers and tasks, and the state that follows from it (Celery:
//! `app.events`).

mod bounded;
pub mod fleet_state;
pub mod monitored_task;
pub mod monitored_worker;
pub mod receiver;
