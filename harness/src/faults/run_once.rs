//! P2: work that lasts longer than the visibility timeout, and an eta beyond it, run once.

use std::path::Path;
use std::time::Duration;

use apium::prelude::*;
use apium_peers::redis_server::RedisServer;

use crate::faults::celery;
use crate::faults::crew::Crew;
use crate::faults::row::{Outcome, Row};
use crate::faults::run_log::RunLog;
use crate::faults::size::Size;
use crate::faults::tasks::{Setup, begin, mark};
use crate::place::Place;

const LONG: u64 = 1;
const ETA: u64 = 2;

/// The check.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let apium = apium(size.visibility).await?;
    let celery = if size.celery { Some(celery_repeats(size.visibility).await?) } else { None };
    Ok(Row { promise: "P2", what: "long work is not run twice", apium, celery })
}

/// Two workers of Apium, and one of Python that looks for abandoned messages each second.
async fn apium(visibility: Duration) -> Result<Outcome, BoxError> {
    let server = RedisServer::start();
    let place = Place::new()?;
    let log = RunLog::open(&place.folder().join("runs"))?;
    let mut setup = Setup::new(server.url(0));
    setup.options = format!("visibility_timeout={}", visibility.as_secs());
    setup.lease = Duration::from_secs(30);
    let _sweeper = celery::sweeper(&setup.url, log.path(), visibility, "one");
    let crew = Crew::new(setup.clone(), log.path());
    let workers = [crew.start()?, crew.start()?];
    let outcome = runs(&setup, &log, visibility, "lease 30 s, Python sweeping").await?;
    for worker in workers {
        worker.stop()?;
    }
    Ok(outcome)
}

async fn celery_repeats(visibility: Duration) -> Result<Outcome, BoxError> {
    let server = RedisServer::start();
    let place = Place::new()?;
    let log = RunLog::open(&place.folder().join("runs"))?;
    let setup = Setup::new(server.url(0));
    let worker = |name: &str, path: &Path| {
        let name = format!("{name}@here");
        celery::worker(&setup.url, path, &celery::eager(visibility))
            .args(["-P", "threads", "-c", "4", "-n", &name])
            .start()
    };
    let _workers = [worker("one", log.path()), worker("two", log.path())];
    runs(&setup, &log, visibility, "two workers").await
}

/// Calls both tasks and counts their runs until no more can come.
async fn runs(setup: &Setup, log: &RunLog, visibility: Duration, who: &str) -> Result<Outcome, BoxError> {
    let app = setup.app().await?;
    let long = visibility * 5;
    begin::delay(LONG, u64::try_from(long.as_millis())?).send(&app).await?;
    mark::delay(ETA, 0).countdown(long).send(&app).await?;
    let both = |runs: &[crate::faults::run_log::Ran]| {
        [LONG, ETA].iter().all(|number| runs.iter().any(|ran| ran.number == *number))
    };
    let ran = log.wait(long + Duration::from_secs(10), both).await?;
    // Who gives something on twice does so within a timeout.
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
