//! The fault tests of the Redis driver, one file a guarantee of `docs/PROMISES.md`. Each breaks what the driver must
//! survive, and does the same to Celery where it has a counterpart. `torture_redis` runs them and prints a line for
//! each.

pub mod clock_jumps;
pub mod deadline;
pub mod idle_quiet;
pub mod kit;
pub mod million_etas;
pub mod nothing_lost;
pub mod outage_no_failure;
pub mod outages;
pub mod reconnect;
pub mod refusing_store;
pub mod run_once;
pub mod takeover;
pub mod user_code;
pub mod waiters;
