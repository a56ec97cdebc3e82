//! Celery's workers in the same tests, with the tasks of `tests/interop/operating.py`.

use std::time::Duration;

use apium::prelude::*;
use apium_peers::celery::{Builder, CeleryWorker};

use crate::faults::kit::celery::program;
use crate::faults::kit::row::Outcome;
use crate::faults::kit::run_log::{LoggedRun, now};
use crate::operating::crew::Crew;
use crate::operating::idle;
use crate::operating::size::Size;
use crate::operating::tasks::{id, run};
use crate::operating::warm_shutdown::{PATIENCE, ran, send};
use crate::process;
use crate::torture::store::wait_until;

/// How many tasks are revoked in each way.
const REVOKED: u64 = 20;

/// The countdown of tasks that are revoked while a worker is up.
const COUNTDOWN: Duration = Duration::from_secs(8);

/// The visibility timeout, after which another worker gets what a killed one had. By default it is an hour.
pub const VISIBILITY: Duration = Duration::from_secs(4);

/// How long the caller may take.
const CALLER: Duration = Duration::from_secs(30);

/// What the tasks that hold the processes of a worker take when it is stopped, in milliseconds.
const LONG: u64 = 2_500;

/// Where Celery's programs work.
#[derive(Debug)]
pub struct Peer {
    /// The address of the broker.
    pub broker: String,
    /// The address of the result backend.
    pub backend: String,
    /// `broker_transport_options`, as JSON.
    pub options: String,
}

/// Tests Celery's workers at `peer`, where it has a counterpart. `crew` is of the same place.
pub async fn check(guarantee: &str, crew: &Crew, peer: &Peer, size: &Size) -> Result<Option<Outcome>, BoxError> {
    Ok(match guarantee {
        "durable-revokes" => Some(forgets_revokes(crew, peer).await?),
        "warm-shutdown" => Some(stops(crew, peer, size).await?),
        "idle-quiet" => Some(idle::watch_celery(crew, worker(crew, peer, "idle@here").mingles(), size).await?),
        _ => None,
    })
}

/// A worker that is called `name`.
fn worker(crew: &Crew, peer: &Peer, name: &str) -> Builder {
    let log = crew.site.folder.join("runs");
    let worker = CeleryWorker::of("operating").urls(&peer.broker, &peer.backend);
    let worker = worker.env("OPERATING_LOG", &log.display().to_string());
    worker.env("OPERATING_OPTIONS", &peer.options).args(["-c", "4", "-n", name])
}

/// Tasks are revoked by Celery's `control.revoke` while no worker is up, and others while one is that is killed then.
async fn forgets_revokes(crew: &Crew, peer: &Peer) -> Result<Outcome, BoxError> {
    let (early, late) = (0..REVOKED, REVOKED..2 * REVOKED);
    for number in early.clone() {
        run::delay(number, 5).task_id(id(number)).send(&crew.app).await?;
    }
    revoke(peer, early.clone())?;
    let mut victim = worker(crew, peer, "victim@here").start();
    for number in late.clone() {
        run::delay(number, 5).task_id(id(number)).countdown(COUNTDOWN).send(&crew.app).await?;
    }
    revoke(peer, late.clone())?;
    victim.wait_for("Tasks flagged as revoked");
    victim.kill();
    let _heir = worker(crew, peer, "heir@here").start();
    tokio::time::sleep(COUNTDOWN + VISIBILITY * 2).await;
    let runs = crew.log.by_number()?;
    let ran = |numbers: std::ops::Range<u64>| numbers.filter(|number| runs.contains_key(number)).count();
    let (forgotten, forgotten_later) = (ran(early), ran(late));
    let text = format!(
        "{REVOKED} tasks revoked while no worker was up: {forgotten} ran; {REVOKED} revoked while one was, which was \
         killed then: {forgotten_later} ran"
    );
    Ok(Outcome::new(forgotten + forgotten_later == 0, text))
}

fn revoke(peer: &Peer, numbers: std::ops::Range<u64>) -> Result<(), BoxError> {
    let ids = numbers.map(id).collect::<Vec<_>>().join(",");
    let env = [("BROKER_URL", &*peer.broker), ("RESULT_BACKEND", &*peer.backend), ("OPERATING_LOG", "")];
    match program(["operating.py", &ids], &env, CALLER)?.as_deref() {
        Some("revoked") => Ok(()),
        printed => Err(format!("revoke by Celery: its caller printed {printed:?}").into()),
    }
}

/// A worker whose processes are busy and that has fetched more is stopped, while another one is idle.
async fn stops(crew: &Crew, peer: &Peer, size: &Size) -> Result<Outcome, BoxError> {
    const SLOTS: u64 = 4;
    const FETCHED: u64 = 12;
    let (mut slowest, mut next, mut kept_back) = (Duration::ZERO, 0, 0);
    for stop in 0..size.stops.min(5) {
        let (long, short) = (next..next + SLOTS, next + SLOTS..next + SLOTS + FETCHED);
        next = short.end;
        let mut victim = worker(crew, peer, &format!("victim{stop}@here")).start();
        // Celery's worker takes seconds to start, so this one is there before and has nothing to do yet.
        let idle = format!("other{stop}@here");
        let mut other = worker(crew, peer, &idle).args(["-Q", "elsewhere"]).start();
        send(&crew.app, long.clone(), LONG).await?;
        crew.log.wait(PATIENCE, |runs| ran(runs, &long) == long.clone().count()).await?;
        send(&crew.app, short.clone(), 5).await?;
        // With early acknowledgement Celery counts what waits for a process as running, and fetches no more than that.
        wait_until(Duration::from_millis(500), async || Ok(crew.waiting().await? == 0)).await?;
        let added = crew.app.control().destination([&*idle]).add_consumer("celery").replies().await?;
        if added.answers().count() != 1 {
            return Err(format!("let {idle} consume, too: it answers {added:?}").into());
        }
        let of_victim = process::tree(victim.pid())?;
        let told = now();
        victim.terminate();
        crew.log.wait(PATIENCE, |runs| ran(runs, &short) == short.clone().count()).await?;
        let runs = crew.log.by_number()?;
        let last: Vec<&LoggedRun> = short.clone().filter_map(|number| runs.get(&number)?.last()).collect();
        let back = last.iter().map(|run| run.at).max();
        slowest =
            slowest.max(Duration::from_micros(u64::try_from(back.unwrap_or(i64::MAX) - told).unwrap_or_default()));
        kept_back += last.iter().filter(|run| of_victim.iter().any(|pid| u64::from(*pid) == run.pid)).count();
        victim.wait();
        other.terminate();
        other.wait();
    }
    let runs = crew.log.by_number()?;
    let count = |number: u64| runs.get(&number).map_or(0, Vec::len);
    let (lost, repeated) = (
        (0..next).filter(|number| count(*number) == 0).count(),
        (0..next).map(|number| count(number).saturating_sub(1)).sum::<usize>(),
    );
    let text = format!(
        "{} stops of a worker that had {SLOTS} runs and had fetched more: the last of {FETCHED} others began after {:.2} s \
         at most, {kept_back} of all in the stopped worker; {next} tasks, {lost} lost, {repeated} ran twice",
        size.stops.min(5),
        slowest.as_secs_f64()
    );
    Ok(Outcome::new(lost + repeated == 0, text))
}
