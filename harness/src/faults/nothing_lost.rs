//! `nothing-lost`: whatever kills a worker, and wherever, every published task runs.

use std::collections::BTreeSet;
use std::time::Duration;

use apium::prelude::*;
use apium_peers::redis_server::RedisServer;
use tokio::sync::watch;

use crate::faults::kit::celery;
use crate::faults::kit::crew::Crew;
use crate::faults::kit::kills::{Kills, kill};
use crate::faults::kit::look::Look;
use crate::faults::kit::row::{Outcome, Row};
use crate::faults::kit::run_log::RunLog;
use crate::faults::kit::size::Size;
use crate::faults::kit::tasks::{Setup, sleep_then_record, stalls_of};
use crate::scratch::ScratchFolder;

/// How many tasks are called at a time.
pub(crate) const ROUND: u64 = 40;

/// The visibility timeout in the runs with Celery's workers.
const VISIBILITY: Duration = Duration::from_secs(2);

/// Tasks that are still missing in the end count as lost when nothing has run for this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the test.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let mixed = size.kills / 5;
    let alone = apium(size.kills - mixed, false, size.kills >= 200).await?;
    let apium = alone.and(apium(mixed, true, false).await?);
    let celery = if size.celery { Some(celery_loses(size.celery_kills).await?) } else { None };
    Ok(Row { guarantee: "nothing-lost", what: "no published task is lost", apium, celery })
}

async fn apium(count: usize, with_python: bool, every_point: bool) -> Result<Outcome, BoxError> {
    let server = RedisServer::start();
    let scratch = ScratchFolder::new()?;
    let log = RunLog::open(&scratch.folder().join("runs"))?;
    let mut setup = Setup::new(server.url(0));
    setup.options = format!("visibility_timeout={}", VISIBILITY.as_secs());
    let _sweepers: Vec<_> = if with_python {
        ["one", "two"].map(|name| celery::sweeper(&setup.url, log.path(), VISIBILITY, name)).into()
    } else {
        Vec::new()
    };
    let crew = Crew::new(setup.clone(), log.path());
    let app = setup.app().await?;
    let mut kills = Kills::default();
    let (done, over) = watch::channel(false);
    let killer = async {
        let workers = kill(&crew, &server, count, &mut kills).await;
        // The caller may have failed and be gone already.
        let _ = done.send(true);
        workers
    };
    let (published, workers) = tokio::join!(call_until(&app, over, async |number| call(&app, number).await), killer);
    let (published, workers) = (published?, workers?);
    wait_until_done(&log, &published).await?;
    for worker in workers {
        if !worker.stop()? {
            return Err("a worker that was not killed failed".into());
        }
    }
    app.close().await?;
    let runs = log.by_number()?;
    let stalls = RunLog::open(&stalls_of(log.path()))?.read()?;
    stalls.iter().for_each(|stall| kills.add_stall(stall));
    let mut look = Look::at(&setup.url)?;
    let leftover = look.leftover()?;
    let ids: Vec<String> = published.iter().copied().map(id).collect();
    let unanswered = look.unanswered(&ids)?;
    let lost = published.iter().filter(|number| !runs.contains_key(number)).count();
    let repeated: usize = runs.values().map(|runs| runs.len() - 1).sum();
    let unexplained: usize = runs.values().map(|runs| kills.unexplained(runs)).sum();
    let missed = if every_point { kills.missed() } else { Vec::new() };
    let faults = lost + unexplained + unanswered + missed.len();
    let kept = faults == 0 && leftover.total() == 0 && !published.is_empty();
    let at = kills.at_points.values().sum::<usize>();
    let mut text = format!(
        "{} kills ({} at {} crash points, {} while stopping, {} after a freeze longer than the lease), {} other faults{}: \
         {} published, {lost} lost, {repeated} repeated, all but {unexplained} explained by a fault",
        kills.total(),
        at,
        kills.at_points.len(),
        kills.closing,
        kills.frozen,
        kills.other_faults,
        if with_python { ", Celery sweeping" } else { "" },
        published.len(),
    );
    for (count, what) in [(unanswered as u64, "without a result"), (leftover.total(), "left over")] {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    if !stalls.is_empty() {
        text += &format!(", the machine stalled {} times", stalls.len());
    }
    for (number, runs) in runs.iter().filter(|(_, runs)| kills.unexplained(runs) > 0).take(5) {
        text += &format!(", {number}: {}", kills.describe(runs));
    }
    if leftover.total() > 0 {
        text += &format!(" ({leftover:?})");
    }
    if !missed.is_empty() {
        text += &format!(", no worker died at {}", missed.join(" "));
    }
    Ok(Outcome::new(kept, text))
}

pub(crate) fn id(number: u64) -> String {
    format!("faults-{number}")
}

/// Calls one task, some with a countdown.
pub(crate) async fn call(app: &App, number: u64) -> Result<(), BoxError> {
    let call = sleep_then_record::delay(number, number % 5).task_id(id(number));
    let call = if number % 10 == 5 { call.countdown(Duration::from_millis(50)) } else { call };
    call.send(app).await?;
    Ok(())
}

/// Calls tasks until the kills are over, some by themselves with `single` and the others in batches; the numbers whose
/// calls returned. The server may be away for longer than the publish timeout: then a caller has an error.
pub(crate) async fn call_until(
    app: &App,
    mut over: watch::Receiver<bool>,
    single: impl AsyncFn(u64) -> Result<(), BoxError>,
) -> Result<BTreeSet<u64>, BoxError> {
    let mut published = BTreeSet::new();
    let mut next = 0_u64;
    while !*over.borrow_and_update() {
        let (alone, batch): (Vec<u64>, Vec<u64>) = (next..next + ROUND).partition(|number| number % 4 == 1);
        next += ROUND;
        let sent = alone.iter().map(|number| single(*number));
        let sent = futures_util::future::join_all(sent).await;
        published.extend(alone.iter().zip(sent).filter(|(_, sent)| sent.is_ok()).map(|(number, _)| *number));
        let calls = batch.iter().map(|number| sleep_then_record::s(*number, *number % 5).task_id(id(*number)));
        if Batch::of(calls).send_all(app).await.is_ok() {
            published.extend(batch);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(published)
}

/// Waits until everything was executed, or nothing runs any more.
async fn wait_until_done(log: &RunLog, published: &BTreeSet<u64>) -> Result<(), BoxError> {
    let mut before = 0;
    loop {
        let runs = log.read()?;
        let seen: BTreeSet<u64> = runs.iter().map(|ran| ran.number).collect();
        if published.is_subset(&seen) {
            break;
        }
        if runs.len() == before {
            break;
        }
        before = runs.len();
        log.wait(PATIENCE, |runs| runs.len() > before).await?;
    }
    // A last repetition may still come: of a worker that was killed after a run and before its acknowledgement.
    tokio::time::sleep(VISIBILITY * 2).await;
    Ok(())
}

/// Celery's worker, killed after it popped a message and before it wrote it to `unacked`, and at random.
async fn celery_loses(random: usize) -> Result<Outcome, BoxError> {
    const AT_POINT: usize = 3;
    const TASKS: u64 = 10;
    let server = RedisServer::start();
    let scratch = ScratchFolder::new()?;
    let log = RunLog::open(&scratch.folder().join("runs"))?;
    let setup = Setup::new(server.url(0));
    let app = setup.app().await?;
    let options = celery::sweep_each_second(Duration::from_secs(1));
    let worker = || celery::worker(&setup.url, log.path(), &options).args(["-P", "solo", "-n", "victim@here"]);
    let mut published = 0;
    for kill in 0..AT_POINT + random {
        // Numbers that end with 3 are tasks that Apium retries.
        let numbers = (published..).filter(|number| number % 10 != 3).take(TASKS as usize).collect::<Vec<u64>>();
        published = numbers.last().map_or(published, |last| last + 1);
        let mut victim = if kill < AT_POINT { worker().env("FAULTS_KILL_AT", "4") } else { worker() }.start();
        for number in &numbers {
            sleep_then_record::delay(*number, 5).send(&app).await?;
        }
        if kill < AT_POINT {
            victim.wait();
        } else {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..100))).await;
            victim.kill();
        }
    }
    let all: BTreeSet<u64> = (0..published).filter(|number| number % 10 != 3).collect();
    let _last = worker().start();
    log.wait(Duration::from_secs(15), |runs| {
        let seen: BTreeSet<u64> = runs.iter().map(|ran| ran.number).collect();
        all.is_subset(&seen)
    })
    .await?;
    app.close().await?;
    let runs = log.by_number()?;
    let lost = all.iter().filter(|number| !runs.contains_key(number)).count();
    let text = format!(
        "{AT_POINT} kills between the pop and the entry in unacked, {random} at random: {} published, {lost} lost",
        all.len()
    );
    Ok(Outcome::new(lost == 0, text))
}
