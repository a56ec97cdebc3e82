//! The fault tests of the Redis driver: its promises, each shown by breaking what it must survive, and the same done to Celery where
//! Celery has a counterpart. `torture_redis` runs them and prints a line for each.

pub mod back;
pub mod celery;
pub mod crew;
pub mod deadline;
pub mod etas;
pub mod kills;
pub mod look;
pub mod nothing_lost;
pub mod quiet;
pub mod recovery;
pub mod row;
pub mod run_log;
pub mod run_once;
pub mod size;
pub mod tasks;
pub mod waiting;
