//! The fault tests of child processes, and of Celery's prefork beside them: `torture_processes full|usual|brief
//! [NAME …]` prints a line for each guarantee.

use std::process::ExitCode;

use apium::prelude::BoxError;
use apium_harness::faults::kit::chosen;
use apium_harness::operating::on_redis;
use apium_harness::processes::size::Size;
use apium_harness::processes::worker::worker_or;
use apium_harness::processes::{children_killed, crash_loop, time_limits, workers_killed};

/// The guarantees that are checked.
const GUARANTEES: [&str; 6] =
    ["isolation", "nothing-lost", "crash-loop", "time-limits", "durable-revokes", "warm-shutdown"];

fn main() -> ExitCode {
    worker_or(async |args| check(&args).await)
}

async fn check(args: &[String]) -> Result<bool, BoxError> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let sizes = [Size::FULL, Size::USUAL, Size::BRIEF];
    let kept = chosen::run(&args, sizes, &GUARANTEES, async |guarantee, size| match guarantee {
        "isolation" => children_killed::check(size).await,
        "nothing-lost" => workers_killed::check(size).await,
        "crash-loop" => crash_loop::check(size).await,
        "time-limits" => time_limits::check(size).await,
        operated => on_redis::check_children(operated, (&size.operating, size.celery)).await,
    });
    kept.await
}
