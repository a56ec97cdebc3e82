//! What the fault tests share: workers and tasks, the log of runs, kills, and the line that each test prints.

pub mod celery;
pub mod chosen;
pub mod crew;
pub mod kills;
pub mod look;
pub mod refusal;
pub mod row;
pub mod run_log;
pub mod size;
pub mod tasks;
