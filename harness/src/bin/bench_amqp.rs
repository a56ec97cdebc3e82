//! Measures the RabbitMQ driver beside Celery and a bare client: `bench_amqp MEASURE` prints the figures of one run.
//! Without an argument it lists the measures.

use apium::prelude::BoxError;
use apium_harness::rabbitmq::speed::{drain, publish, round_trip};
use apium_harness::speed::round_trip::Counts;
use apium_harness::speed::worker::{self, Setting};
use apium_harness::{report, speed};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let drains = speed::drained::Counts { fast: 60_000, celery: 5_000 };
    match args.as_slice() {
        ["publish"] => publish::measure(speed::enqueue::Counts { single: 4_000, celery: 2_000, many: 60_000 }).await,
        ["drain"] => drain::side_by_side(drains).await,
        ["drain-quorum"] => drain::on_quorum_queues(drains).await,
        ["round-trip"] => round_trip::measure(Counts { apium: 2_000, celery: 1_000 }).await,
        ["check"] => drain::check(1_000).await,
        // Apium's worker alone, for a profiler.
        ["alone", count, slots, multiplier] => {
            drain::apium_alone(count.parse()?, Setting { slots, multiplier, ..Setting::DEFAULT }).await
        }
        ["worker" | "drain-as", ..] => worker::role(&args).await,
        _ => {
            report::line("publish drain drain-quorum round-trip check");
            Ok(())
        }
    }
}
