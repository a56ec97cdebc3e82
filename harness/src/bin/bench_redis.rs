//! Measures the Redis driver beside Celery and a bare client: `bench_redis MEASURE` prints the figures of one run.
//! Without an argument it lists the measures.

use std::time::Duration;

use apium::prelude::BoxError;
use apium_harness::redis::{control_load, drain, enqueue, events, far, footprint, queues, round_trip};
use apium_harness::speed::round_trip::Counts;
use apium_harness::speed::worker;
use apium_harness::{report, speed};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let drains = speed::drained::Counts { fast: 200_000, celery: 5_000 };
    match args.as_slice() {
        ["enqueue"] => enqueue::measure(speed::enqueue::Counts { single: 20_000, celery: 3_000, many: 200_000 }).await,
        ["drain"] => drain::side_by_side("drain", drains, false).await,
        ["drain-results"] => drain::side_by_side("results", drains, true).await,
        ["round-trip"] => round_trip::measure(Counts { apium: 3_000, celery: 1_000 }).await,
        ["idle"] => footprint::measure(300).await,
        ["far"] => far::measure(far::Counts { apium: 100_000, celery: 1_000, round_trips: 500 }).await,
        ["control"] => control_load::measure(400_000, 3, Duration::from_secs(10)).await,
        ["queues"] => queues::measure(400).await,
        ["events"] => events::measure(events::Counts { apium: 200_000, celery: 5_000 }).await,
        ["check"] => {
            drain::check(1_000).await?;
            events::check(1_000).await
        }
        ["check-control"] => control_load::measure(2_000, 1, Duration::from_secs(2)).await,
        // Apium's worker or callers alone, for a profiler.
        ["alone", way, count] => enqueue::alone(way, count.parse()?).await,
        ["alone", kind, count, slots, multiplier, events] => {
            let setting = worker::Setting { slots, multiplier, events: worker::Events::named(events)? };
            drain::apium_alone(count.parse()?, *kind == "results", setting).await
        }
        // How it starts itself as another process.
        ["worker" | "worker-of" | "drain-as", ..] => worker::role(&args).await,
        _ => {
            report::line("enqueue drain drain-results round-trip idle far queues events control check");
            Ok(())
        }
    }
}
