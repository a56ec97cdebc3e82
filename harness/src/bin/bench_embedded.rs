//! Measures the embedded driver: `bench_embedded MEASURE` prints the figures of one run. Without an argument it lists
//! the measures.

use apium::prelude::BoxError;
use apium_harness::embedded::{drain, enqueue, footprint, round_trip, worker};
use apium_harness::report;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["enqueue-batches"] => enqueue::batches(400_000).await,
        ["enqueue-callers"] => enqueue::callers(200_000).await,
        ["drain"] => drain::filled("drain", 300_000, false).await,
        ["drain-results"] => drain::filled("drain_results", 200_000, true).await,
        ["live"] => drain::live("live", 150_000, false).await,
        ["live-results"] => drain::live("live_results", 150_000, true).await,
        ["round-trip"] => round_trip::one_process(3_000).await,
        ["round-trip-processes"] => round_trip::two_processes(2_000).await,
        ["idle"] => footprint::idle().await,
        ["first-task"] => footprint::first_task().await,
        ["etas"] => footprint::etas(1_000_000).await,
        // How it starts itself as another process.
        ["worker", address] => worker::run(address).await,
        ["drain-default", count, kind] => drain::default(count.parse()?, *kind == "stored").await,
        ["produce", address, count, kind] => worker::produce(address, count.parse()?, *kind == "stored").await,
        _ => {
            report::line(
                "enqueue-batches enqueue-callers drain drain-results live live-results round-trip \
                          round-trip-processes idle first-task etas",
            );
            Ok(())
        }
    }
}
