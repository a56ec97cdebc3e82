//! Measures workers with child processes beside Celery's prefork: `bench_processes all` prints the figures of one run.

use std::process::ExitCode;

use apium_harness::processes::speed::{Counts, measure};
use apium_harness::processes::worker::worker_or;

fn main() -> ExitCode {
    worker_or(async |args| {
        let counts = match args.first().map(String::as_str) {
            Some("all") => Counts { rust: 100_000, python: 40_000, celery: 5_000 },
            Some("check") => Counts { rust: 500, python: 500, celery: 300 },
            _ => return Err("read the arguments: give all or check".into()),
        };
        measure(counts).await?;
        Ok(true)
    })
}
