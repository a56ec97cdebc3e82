//! `nothing-lost`: whole workers are killed while their children run tasks. Every task runs, and no child outlives its
//! worker.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use apium::prelude::*;
use apium_peers::guarded::runs;
use apium_peers::python::programs;
use apium_peers::redis_server::RedisServer;

use crate::faults::kit::row::{Outcome, Row};
use crate::faults::kit::run_log::RunLog;
use crate::faults::kit::tasks::{Setup, sleep_then_record};
use crate::processes::size::Size;
use crate::processes::worker::{Bodies, ProcessWorker, command};
use crate::scratch::ScratchFolder;

/// Tasks called before each kill.
const ROUND: u64 = 40;
/// Tasks that are missing count as lost when nothing has run for this long.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a child may outlive its worker.
const ORPHANED: Duration = Duration::from_secs(5);

/// Runs the test.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let rust = killed(Bodies::Rust, size.kills).await?;
    let apium = rust.and(killed(Bodies::Python, size.kills).await?);
    Ok(Row { guarantee: "nothing-lost", what: "no published task is lost", apium, celery: None })
}

async fn killed(bodies: Bodies, kills: usize) -> Result<Outcome, BoxError> {
    let server = RedisServer::start();
    let scratch = ScratchFolder::new()?;
    let log = RunLog::open(&scratch.folder().join("runs"))?;
    let url = server.url(0);
    let app = Setup::new(url.clone()).app().await?;
    let start = async || {
        let mut command = command(bodies, (&programs(), "faults"), &url, &["-c", "4"])?;
        command.env("FAULTS_LOG", log.path()).env("APIUM_RESULT_BACKEND", &url);
        ProcessWorker::start(command, scratch.folder()).await
    };
    let mut published = BTreeSet::new();
    let mut orphans = 0;
    for kill in 0..kills as u64 {
        let mut worker = start().await?;
        let numbers = (kill * ROUND..(kill + 1) * ROUND).map(|number| number * 10);
        published.extend(numbers.clone());
        Batch::of(numbers.map(|number| sleep_then_record::s(number, number % 30))).send_all(&app).await?;
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..300))).await;
        let children = worker.children()?;
        worker.kill();
        orphans += orphaned(&children).await;
    }
    let last = start().await?;
    let mut before = 0;
    loop {
        let runs: BTreeSet<u64> = log.read()?.iter().map(|ran| ran.number).collect();
        if published.is_subset(&runs) || !log.wait(PATIENCE, |runs| runs.len() > before).await? {
            break;
        }
        before = log.read()?.len();
    }
    last.stop()?;
    app.close().await?;
    let by_number = log.by_number()?;
    let lost = published.iter().filter(|number| !by_number.contains_key(number)).count();
    let repeated: usize = by_number.values().map(|of_one| of_one.len() - 1).sum();
    let text = format!(
        "{}: {kills} kills of whole workers: {} published, {lost} lost, {repeated} repeated, {orphans} children outlived \
         their worker",
        bodies.name(),
        published.len()
    );
    Ok(Outcome::new(lost == 0 && orphans == 0, text))
}

/// How many of these processes go on.
async fn orphaned(children: &[u32]) -> usize {
    let started = Instant::now();
    let left = || children.iter().filter(|pid| runs(**pid)).count();
    while left() > 0 && started.elapsed() < ORPHANED {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    left()
}
