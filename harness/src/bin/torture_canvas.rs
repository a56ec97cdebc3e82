//! Lets workers die at every named place on the way of a chord: `torture_canvas RUNS PARTS DRIVER …` for the drivers `redis`, `sqlite`
//! and `celery`. A line for each place, and one for Celery.

use std::process::ExitCode;

use apium::prelude::BoxError;
use apium_harness::canvas::case::Case;
use apium_harness::canvas::ground::Driver;
use apium_harness::canvas::tally::Tally;
use apium_harness::canvas::trial::{self, Trial};
use apium_harness::canvas::{celery, crew, places};
use apium_harness::report;
use apium_peers::redis_server::RedisServer;
use futures_util::stream::{self, StreamExt as _};

/// How many chords are broken at a time: most of the time is spent waiting for leases to end.
const AT_ONCE: usize = 4;

/// How often a case is played until its worker comes to its place: which batches a chord is done in is not the same each time.
const DRAWS: usize = 5;

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        // The role in which it starts itself.
        ["work", rest @ ..] => crew::role(rest).await.map(|()| ExitCode::SUCCESS),
        [runs, parts, drivers @ ..] if !drivers.is_empty() => {
            let mut kept = true;
            for driver in drivers {
                kept &= match *driver {
                    "redis" => torture(&[Driver::Redis], runs.parse()?, parts.parse()?).await?,
                    "sqlite" => torture(&[Driver::Sqlite, Driver::SqliteApart], runs.parse()?, parts.parse()?).await?,
                    "celery" => celery::check(runs.parse()?).await.map(|()| true)?,
                    other => return Err(format!("find the driver {other:?}: redis, sqlite or celery").into()),
                };
            }
            Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        _ => Err("read the arguments: the number of runs, that of parts, and drivers".into()),
    }
}

/// Every case of these drivers so many times; whether all went well.
async fn torture(drivers: &[Driver], runs: usize, parts: u64) -> Result<bool, BoxError> {
    let server = RedisServer::start();
    let mut tally = Tally::default();
    for _ in 0..runs {
        let cases = drivers.iter().flat_map(|driver| places::cases(*driver, parts));
        let played = cases.map(|case| {
            let server = &server;
            async move { (case, play(&case, parts, server).await) }
        });
        let mut played = stream::iter(played).buffered(AT_ONCE);
        while let Some((case, trials)) = played.next().await {
            let broken = |error| format!("break a chord at {} on {:?}: {error}", case.title(), case.driver);
            for trial in trials.map_err(broken)? {
                tally.add(&case, &trial);
                if !(case.allows(trial.bodies) && trial.right && trial.left == 0) {
                    report::line(&format!("{} on {}, {:?}: {trial:?}", case.title(), case.driver.name(), case.fate));
                }
            }
        }
    }
    tally.print();
    Ok(tally.kept())
}

/// Plays a case until its worker has died where it should; all that was played counts.
async fn play(case: &Case, parts: u64, server: &RedisServer) -> Result<Vec<Trial>, BoxError> {
    let mut trials = Vec::new();
    while trials.len() < DRAWS {
        let trial = trial::run(case, parts, server).await?;
        let died = trial.deaths > 0;
        trials.push(trial);
        if died {
            break;
        }
    }
    Ok(trials)
}
