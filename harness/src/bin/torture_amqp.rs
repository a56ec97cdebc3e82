//! The fault tests of the RabbitMQ driver: `torture_amqp full|usual|brief [NAME …]` prints a line for each guarantee,
//! by its name in `docs/PROMISES.md`.

use std::process::ExitCode;

use apium::prelude::BoxError;
use apium_harness::faults::kit::chosen;
use apium_harness::operating::{crew, on_rabbitmq};
use apium_harness::rabbitmq::size::Size;
use apium_harness::rabbitmq::{crash_loop, deadline, delays, nothing_lost, reconnect, run_once, site, takeover};

/// The guarantees that are checked.
const GUARANTEES: [&str; 11] = [
    "nothing-lost",
    "crash-loop",
    "run-once",
    "takeover",
    "deadline",
    "million-etas",
    "reconnect",
    "durable-revokes",
    "warm-shutdown",
    "blocked-reactor",
    "idle-quiet",
];

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        // How it starts itself as another process.
        ["worker", rest @ ..] => return site::role(rest).await.map(|()| ExitCode::SUCCESS),
        ["operating-worker", rest @ ..] => return crew::role(rest).await.map(|()| ExitCode::SUCCESS),
        _ => {}
    }
    let sizes = [Size::FULL, Size::USUAL, Size::BRIEF];
    let kept = chosen::run(&args, sizes, &GUARANTEES, async |guarantee, size| match guarantee {
        "nothing-lost" => nothing_lost::check(size).await,
        "crash-loop" => crash_loop::check(size).await,
        "run-once" => run_once::check(size).await,
        "takeover" => takeover::check(size).await,
        "deadline" => deadline::check(size).await,
        "million-etas" => delays::check(size).await,
        "reconnect" => reconnect::check(size).await,
        operated => on_rabbitmq::check(operated, size).await,
    });
    Ok(if kept.await? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
