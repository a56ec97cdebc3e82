//! Measures how cost grows with size: `bench_scaling MEASURE [full]` prints the figures of one run. Without an argument
//! it lists the measures.

use apium::prelude::BoxError;
use apium_harness::report;
use apium_harness::scaling::size::Size;
use apium_harness::scaling::{crew, depth, payloads, queues, results, slots, waiters, workers};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let size = if args.get(1) == Some(&"full") { Size::Full } else { Size::Small };
    match args.as_slice() {
        ["workers", ..] => workers::measure(size).await,
        ["queues", ..] => queues::measure(size).await,
        ["depth", ..] => depth::measure(size).await,
        ["results", ..] => results::measure(size).await,
        ["payloads", ..] => payloads::measure(size).await,
        ["waiters", ..] => waiters::measure(size).await,
        ["slots", ..] => slots::measure(size).await,
        // How it starts itself as another process.
        ["worker", address, queues, slots, kind] => crew::run(address, queues, slots, kind).await,
        _ => {
            report::line("workers queues depth results payloads waiters slots");
            Ok(())
        }
    }
}
