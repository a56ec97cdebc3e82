//! Measures the Redis driver beside Celery and a bare client: `bench_redis MEASURE` prints the figures of one run.
//! Without an argument it lists the measures.

use apium::prelude::BoxError;
use apium_harness::redis::kit::worker;
use apium_harness::redis::{drain, enqueue, far, footprint, queues, round_trip};
use apium_harness::report;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let drains = drain::Counts { fast: 200_000, celery: 5_000 };
    match args.as_slice() {
        ["enqueue"] => enqueue::measure(enqueue::Counts { single: 20_000, celery: 3_000, many: 200_000 }).await,
        ["drain"] => drain::side_by_side("drain", drains, false).await,
        ["drain-results"] => drain::side_by_side("results", drains, true).await,
        ["round-trip"] => round_trip::measure(round_trip::Counts { apium: 3_000, celery: 1_000 }).await,
        ["idle"] => footprint::measure(300).await,
        ["far"] => far::measure(far::Counts { apium: 100_000, celery: 1_000, round_trips: 500 }).await,
        ["queues"] => queues::measure(400).await,
        ["check"] => drain::check(1_000).await,
        // Apium's worker or callers alone, for a profiler.
        ["alone", way, count] => enqueue::alone(way, count.parse()?).await,
        ["alone", kind, count, slots, multiplier] => {
            drain::apium_alone(count.parse()?, *kind == "results", worker::Setting { slots, multiplier }).await
        }
        // How it starts itself as another process.
        ["worker-of", address, queues] => worker::run_queues(address, queues.parse()?).await,
        ["worker", address, kind] => worker::run(address, kind).await,
        ["drain-as", address, kind, count, slots, multiplier] => {
            worker::drain(address, kind, count.parse()?, worker::Setting { slots, multiplier }).await
        }
        _ => {
            report::line("enqueue drain drain-results round-trip idle far queues check");
            Ok(())
        }
    }
}
