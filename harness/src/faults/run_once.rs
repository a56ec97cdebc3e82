//! `run-once`: a task that runs for longer than the visibility timeout, and one with an eta beyond it, run once.

use std::path::Path;
use std::time::Duration;

use apium::prelude::*;
use apium_peers::redis_server::RedisServer;

use crate::faults::kit::celery;
use crate::faults::kit::crew::Crew;
use crate::faults::kit::row::{Outcome, Row};
use crate::faults::kit::run_log::RunLog;
use crate::faults::kit::size::Size;
use crate::faults::kit::tasks::{Setup, record_then_sleep, sleep_then_record};
use crate::scratch::ScratchFolder;

const LONG: u64 = 1;
const ETA: u64 = 2;

/// Runs the test.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let apium = apium(size.visibility).await?;
    let celery = if size.celery { Some(celery_repeats(size.visibility).await?) } else { None };
    Ok(Row { guarantee: "run-once", what: "a long task runs once", apium, celery })
}

/// Two workers of Apium, and a Celery worker that looks for abandoned messages each second.
async fn apium(visibility: Duration) -> Result<Outcome, BoxError> {
    let server = RedisServer::start();
    let scratch = ScratchFolder::new()?;
    let log = RunLog::open(&scratch.folder().join("runs"))?;
    let mut setup = Setup::new(server.url(0));
    setup.options = format!("visibility_timeout={}", visibility.as_secs());
    setup.lease = Duration::from_secs(30);
    let _sweeper = celery::sweeper(&setup.url, log.path(), visibility, "one");
    let crew = Crew::new(setup.clone(), log.path());
    let workers = [crew.start()?, crew.start()?];
    let outcome = runs(&setup, &log, visibility, "lease 30 s, Celery sweeping").await?;
    for worker in workers {
        worker.stop()?;
    }
    Ok(outcome)
}

async fn celery_repeats(visibility: Duration) -> Result<Outcome, BoxError> {
    let server = RedisServer::start();
    let scratch = ScratchFolder::new()?;
    let log = RunLog::open(&scratch.folder().join("runs"))?;
    let setup = Setup::new(server.url(0));
    let worker = |name: &str, path: &Path| {
        let name = format!("{name}@here");
        celery::worker(&setup.url, path, &celery::sweep_each_second(visibility))
            .args(["-P", "threads", "-c", "4", "-n", &name])
            .start()
    };
    let _workers = [worker("one", log.path()), worker("two", log.path())];
    runs(&setup, &log, visibility, "two workers").await
}

/// Calls both tasks, and counts their runs when no more can come.
async fn runs(setup: &Setup, log: &RunLog, visibility: Duration, who: &str) -> Result<Outcome, BoxError> {
    let app = setup.app().await?;
    let long = visibility * 5;
    record_then_sleep::delay(LONG, u64::try_from(long.as_millis())?).send(&app).await?;
    sleep_then_record::delay(ETA, 0).countdown(long).send(&app).await?;
    let both = |runs: &[crate::faults::kit::run_log::LoggedRun]| {
        [LONG, ETA].iter().all(|number| runs.iter().any(|ran| ran.number == *number))
    };
    let ran = log.wait(long + Duration::from_secs(10), both).await?;
    // A second delivery would come within one visibility timeout.
    tokio::time::sleep(visibility * 2).await;
    app.close().await?;
    let (task, eta) = (log.runs_of(LONG)?.len(), log.runs_of(ETA)?.len());
    let times = |count: usize| if count == 1 { "once".to_owned() } else { format!("{count} times") };
    let text = format!(
        "visibility timeout {} s, {who}: a task of {} s ran {}, an eta of {} s {}",
        visibility.as_secs(),
        long.as_secs(),
        times(task),
        long.as_secs(),
        times(eta)
    );
    Ok(Outcome::new(ran && task == 1 && eta == 1, text))
}
