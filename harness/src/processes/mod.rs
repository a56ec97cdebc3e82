//! Child processes: the pool in which bodies run, and tasks in Python. `torture_processes` kills them, and
//! `bench_processes` measures them, both beside Celery's prefork.

pub mod children_killed;
pub mod crash_loop;
pub mod size;
pub mod speed;
pub mod time_limits;
pub mod worker;
pub mod workers_killed;
