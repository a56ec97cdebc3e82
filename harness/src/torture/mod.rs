//! The fault tests of the embedded driver. Each breaks what it must survive: workers are killed, the disk is full,
//! clocks are set, processes are stopped, code of the user's panics. `torture_sqlite` runs them. `faults` runs the last
//! three on Redis.

pub mod clock_steps;
pub mod full_disk;
pub mod kills;
pub mod store;
pub mod suspended;
pub mod tasks;
pub mod user_code;
