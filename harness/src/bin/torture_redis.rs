//! Breaks what the Redis driver promises to survive, and does the same to Celery: `torture_redis full|usual|brief [P1 …]` prints a line
//! for each promise.

use std::process::ExitCode;

use apium::prelude::BoxError;
use apium_harness::faults::size::Size;
use apium_harness::faults::{back, crew, deadline, etas, nothing_lost, quiet, recovery, run_once, waiting};

/// The promises that are checked.
const PROMISES: [&str; 8] = ["P1", "P2", "P3", "P5", "P6", "P7", "P16", "P17"];

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (size, named) = match args.as_slice() {
        // The role in which it starts itself.
        ["work", rest @ ..] => return crew::role(rest).await.map(|()| ExitCode::SUCCESS),
        ["full", named @ ..] => (Size::FULL, named),
        ["usual", named @ ..] => (Size::USUAL, named),
        ["brief", named @ ..] => (Size::BRIEF, named),
        _ => return Err("read the arguments: full, usual or brief, and promises such as P1".into()),
    };
    let chosen = if named.is_empty() { &PROMISES[..] } else { named };
    let mut kept = true;
    for promise in chosen {
        let row = match *promise {
            "P1" => nothing_lost::check(&size).await,
            "P2" => run_once::check(&size).await,
            "P3" => recovery::check(&size).await,
            "P5" => deadline::check(&size).await,
            "P6" => back::check(&size).await,
            "P7" => etas::check(&size).await,
            "P16" => quiet::check(&size).await,
            "P17" => waiting::check(&size).await,
            other => Err(format!("find the promise {other:?}: there are {}", PROMISES.join(" ")).into()),
        }?;
        row.print();
        kept &= row.apium.kept;
    }
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
