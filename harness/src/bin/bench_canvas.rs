//! Measures workflows on Redis beside Celery: `bench_canvas MEASURE` prints the figures of one run. Without an argument
//! it lists the measures.

use apium::prelude::BoxError;
use apium_harness::report;
use apium_harness::speed::round_trip::Counts;
use apium_harness::workflows::{bytes, published, side_by_side, worker};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["workflows"] => side_by_side::measure(Counts { apium: 11, celery: 3 }).await,
        ["published"] => published::measure(100_000).await,
        ["bytes"] => bytes::measure().await,
        // Apium alone, for a profiler.
        ["alone", flow, slots, count] => side_by_side::alone(flow, slots.parse()?, count.parse()?).await,
        // How it starts itself as another process.
        ["worker", address, slots] => worker::run(address, slots.parse()?).await,
        _ => {
            report::line("workflows published bytes");
            Ok(())
        }
    }
}
