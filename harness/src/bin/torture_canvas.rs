//! Kills workers at every crash point that a chord passes: `torture_canvas RUNS PARTS DRIVER …` for the drivers
//! `redis`, `sqlite` and `celery`. It prints a line for each case.

use std::process::ExitCode;

use apium::prelude::BoxError;
use apium_harness::canvas::case::Case;
use apium_harness::canvas::fresh_stores::Driver;
use apium_harness::canvas::tally::Tally;
use apium_harness::canvas::trial::{self, Trial};
use apium_harness::canvas::{cases, celery, crew};
use apium_harness::report;
use apium_peers::redis_server::RedisServer;
use futures_util::stream::{self, StreamExt as _};

/// How many chords run at a time: most of the time is spent waiting for leases to end.
const AT_ONCE: usize = 4;

/// How often a case is tried until its worker reaches its crash point: a chord is not cut into the same batches each
/// time.
const ATTEMPTS: usize = 5;

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        // How it starts itself as another process.
        ["worker", rest @ ..] => crew::role(rest).await.map(|()| ExitCode::SUCCESS),
        [runs, parts, drivers @ ..] if !drivers.is_empty() => {
            let mut passed = true;
            for driver in drivers {
                passed &= match *driver {
                    "redis" => torture(&[Driver::Redis], runs.parse()?, parts.parse()?).await?,
                    "sqlite" => {
                        torture(&[Driver::Sqlite, Driver::SqliteTwoFiles], runs.parse()?, parts.parse()?).await?
                    }
                    "celery" => celery::check(runs.parse()?).await.map(|()| true)?,
                    other => return Err(format!("find the driver {other:?}: redis, sqlite or celery").into()),
                };
            }
            Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        _ => Err("read the arguments: give the number of runs, the number of parts, and drivers".into()),
    }
}

/// Runs every case of these drivers `runs` times; whether all passed.
async fn torture(drivers: &[Driver], runs: usize, parts: u64) -> Result<bool, BoxError> {
    let server = RedisServer::start();
    let mut tally = Tally::default();
    for _ in 0..runs {
        let cases = drivers.iter().flat_map(|driver| cases::cases(*driver, parts));
        let trials = cases.map(|case| {
            let server = &server;
            async move { (case, attempt(&case, parts, server).await) }
        });
        let mut trials = stream::iter(trials).buffered(AT_ONCE);
        while let Some((case, attempts)) = trials.next().await {
            let failed = |error| format!("break a chord at {} on {:?}: {error}", case.title(), case.driver);
            for trial in attempts.map_err(failed)? {
                tally.add(&case, &trial);
                if !(case.allows(trial.bodies) && trial.right && trial.leftover == 0) {
                    report::line(&format!("{} on {}, {:?}: {trial:?}", case.title(), case.driver.name(), case.crash));
                }
            }
        }
    }
    tally.print();
    Ok(tally.passed())
}

/// Runs a case until its worker has died where it should; every attempt counts.
async fn attempt(case: &Case, parts: u64, server: &RedisServer) -> Result<Vec<Trial>, BoxError> {
    let mut trials = Vec::new();
    while trials.len() < ATTEMPTS {
        let trial = trial::run(case, parts, server).await?;
        let died = trial.deaths > 0;
        trials.push(trial);
        if died {
            break;
        }
    }
    Ok(trials)
}
