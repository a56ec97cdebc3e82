//! The fault tests of child processes, and of Celery's prefork beside them: `torture_processes full|usual|brief
//! [NAME …]` prints a line for each guarantee.

use std::process::ExitCode;

use apium::prelude::BoxError;
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
    let (size, named) = match args.as_slice() {
        ["full", named @ ..] => (Size::FULL, named),
        ["usual", named @ ..] => (Size::USUAL, named),
        ["brief", named @ ..] => (Size::BRIEF, named),
        _ => return Err("read the arguments: give full, usual or brief, and names such as isolation".into()),
    };
    let chosen = if named.is_empty() { &GUARANTEES[..] } else { named };
    let mut kept = true;
    let operating = (&size.operating, size.celery);
    for guarantee in chosen {
        let row = match *guarantee {
            "isolation" => children_killed::check(&size).await,
            "nothing-lost" => workers_killed::check(&size).await,
            "crash-loop" => crash_loop::check(&size).await,
            "time-limits" => time_limits::check(&size).await,
            "durable-revokes" => on_redis::check_children("durable-revokes", operating).await,
            "warm-shutdown" => on_redis::check_children("warm-shutdown", operating).await,
            other => Err(format!("find the guarantee {other:?}: there are {}", GUARANTEES.join(" ")).into()),
        }?;
        row.print();
        kept &= row.apium.kept;
    }
    Ok(kept)
}
