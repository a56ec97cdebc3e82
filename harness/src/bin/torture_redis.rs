//! The fault tests of the Redis driver, and of Celery beside it: `torture_redis full|usual|brief [NAME …]` prints a
//! line for each guarantee, by its name in `docs/PROMISES.md`.

use std::process::ExitCode;

use apium::prelude::BoxError;
use apium_harness::faults::kit::chosen;
use apium_harness::faults::kit::crew;
use apium_harness::faults::kit::size::Size;
use apium_harness::faults::{
    clock_jumps, deadline, idle_quiet, million_etas, nothing_lost, outage_no_failure, reconnect, refusing_store,
    run_once, takeover, user_code, waiters,
};
use apium_harness::operating::{crew as operating_crew, on_redis};
use apium_harness::torture::tasks;

/// The guarantees that are checked.
const GUARANTEES: [&str; 15] = [
    "nothing-lost",
    "run-once",
    "takeover",
    "deadline",
    "reconnect",
    "million-etas",
    "idle-quiet",
    "waiters",
    "user-code",
    "refusing-store",
    "clock-jumps",
    "outage-no-failure",
    "durable-revokes",
    "warm-shutdown",
    "blocked-reactor",
];

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        // How it starts itself as another process.
        ["worker", rest @ ..] => return crew::role(rest).await.map(|()| ExitCode::SUCCESS),
        ["steady-worker", rest @ ..] => return tasks::role(rest).await.map(|()| ExitCode::SUCCESS),
        ["operating-worker", rest @ ..] => return operating_crew::role(rest).await.map(|()| ExitCode::SUCCESS),
        _ => {}
    }
    let sizes = [Size::FULL, Size::USUAL, Size::BRIEF];
    let kept = chosen::run(&args, sizes, &GUARANTEES, async |guarantee, size| match guarantee {
        "nothing-lost" => nothing_lost::check(size).await,
        "run-once" => run_once::check(size).await,
        "takeover" => takeover::check(size).await,
        "deadline" => deadline::check(size).await,
        "reconnect" => reconnect::check(size).await,
        "million-etas" => million_etas::check(size).await,
        "idle-quiet" => idle_quiet::check(size).await,
        "waiters" => waiters::check(size).await,
        "user-code" => user_code::check(size).await,
        "refusing-store" => refusing_store::check(size).await,
        "clock-jumps" => clock_jumps::check(size).await,
        "outage-no-failure" => outage_no_failure::check(size).await,
        operated => on_redis::check(operated, size).await,
    });
    Ok(if kept.await? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
