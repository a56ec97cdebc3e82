//! P6: a worker consumes again within ten seconds of the broker's return, and its health is red meanwhile.

use std::time::Duration;

use apium::prelude::*;
use apium::worker::handle::WorkerHandle;
use apium::worker::shutdown::shutdown::StopKind;
use apium_peers::proxy::Proxy;
use apium_peers::redis_server::RedisServer;

use crate::faults::celery;
use crate::faults::look::Look;
use crate::faults::row::{Outcome, Row};
use crate::faults::run_log::{RunLog, log_to, now};
use crate::faults::size::Size;
use crate::faults::tasks::{Setup, mark};
use crate::place::Place;

/// Within this time of the return a task must have run.
const LIMIT: Duration = Duration::from_secs(10);

/// Within this time of an outage health must be red.
const RED: Duration = Duration::from_secs(10);

/// What happens to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Restart,
    ClientKill,
    Reset,
    BlackHole,
    Failover,
}

const FAULTS: [Fault; 5] = [Fault::Restart, Fault::ClientKill, Fault::Reset, Fault::BlackHole, Fault::Failover];

/// A broker that breaks: two servers, each behind a proxy.
struct Site {
    servers: [RedisServer; 2],
    proxies: [Proxy; 2],
    /// The one that serves.
    now: usize,
}

impl Site {
    fn new() -> Self {
        let servers = [RedisServer::start(), RedisServer::start()];
        let proxies = [Proxy::to(servers[0].port()), Proxy::to(servers[1].port())];
        // The second is refused until the first one is.
        proxies[1].refuse(true);
        Self { servers, proxies, now: 0 }
    }

    fn list(&self) -> String {
        let [one, two] = [0, 1].map(|place: usize| self.url(place));
        format!("{one};{two}")
    }

    fn url(&self, place: usize) -> String {
        format!("redis://127.0.0.1:{}/0", self.proxies[place].port())
    }

    /// Breaks it, and mends it again. Whether the worker that is watched noticed what lasts.
    async fn suffer(&mut self, fault: Fault, hole: Duration, watched: Watched<'_>) -> Result<bool, BoxError> {
        let (server, proxy) = (&self.servers[self.now], &self.proxies[self.now]);
        let mut noticed = true;
        match fault {
            Fault::Restart => {
                server.kill();
                noticed = turns(watched, false).await;
                server.restart();
            }
            Fault::ClientKill => {
                Look::at(&server.url(0))?.ask::<u64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])?;
            }
            Fault::Reset => proxy.cut(),
            Fault::BlackHole => {
                proxy.black_hole(true);
                tokio::time::sleep(hole).await;
                noticed = turns(watched, false).await;
                proxy.black_hole(false);
            }
            Fault::Failover => {
                proxy.refuse(true);
                proxy.cut();
                self.now = 1 - self.now;
                self.proxies[self.now].refuse(false);
            }
        }
        Ok(noticed)
    }
}

/// A worker whose health is looked at, where it has one.
type Watched<'a> = Option<&'a WorkerHandle>;

/// Whether health turns green, or red, soon.
async fn turns(watched: Watched<'_>, green: bool) -> bool {
    let Some(worker) = watched else { return true };
    let turned = async {
        while worker.health().is_green() != green {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(RED, turned).await.is_ok()
}

/// The check.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let mut site = Site::new();
    let place = Place::new()?;
    let log = RunLog::open(&place.folder().join("runs"))?;
    log_to(log.path())?;
    let app = Setup::new(site.list()).app().await?;
    let worker = app.worker().start().await?;
    let apium = rounds(&mut site, &log, size.rounds, size.hole, Some(&worker)).await?;
    worker.stop_as(StopKind::Now).await;
    app.close().await?;
    let celery = if size.celery { Some(celery_comes_back(size).await?) } else { None };
    Ok(Row { promise: "P6", what: "it consumes again within 10 s", apium, celery })
}

async fn celery_comes_back(size: &Size) -> Result<Outcome, BoxError> {
    let mut site = Site::new();
    let place = Place::new()?;
    let log = RunLog::open(&place.folder().join("runs"))?;
    // Its result backend takes no list of servers.
    let worker = celery::worker(&site.list(), log.path(), "{}").env("RESULT_BACKEND", "");
    let _worker = worker.args(["-P", "solo", "-n", "one@here"]).start();
    rounds(&mut site, &log, size.rounds.min(10), size.hole, None).await
}

async fn rounds(
    site: &mut Site,
    log: &RunLog,
    count: usize,
    hole: Duration,
    watched: Watched<'_>,
) -> Result<Outcome, BoxError> {
    let first = run_one(site, log, 0, LIMIT * 2).await?;
    if first.is_none() {
        return Ok(Outcome::new(false, "it did not even begin to consume"));
    }
    let (mut worst, mut late, mut unseen) = (Duration::ZERO, Vec::new(), 0);
    for (round, fault) in FAULTS.iter().cycle().take(count).enumerate() {
        let noticed = site.suffer(*fault, hole, watched).await?;
        // Numbers that end with 3 are retried.
        let number = (round as u64 + 1) * 10;
        match run_one(site, log, number, LIMIT * 3).await? {
            Some(took) => {
                worst = worst.max(took);
                if took > LIMIT {
                    late.push(format!("{fault:?} {:.1} s", took.as_secs_f64()));
                }
            }
            None => late.push(format!("{fault:?} never")),
        }
        unseen += usize::from(!noticed || !turns(watched, true).await);
    }
    let mut text = format!(
        "{count} rounds of restart, CLIENT KILL, reset, black hole, failover: slowest {:.1} s",
        worst.as_secs_f64()
    );
    if !late.is_empty() {
        text += &format!("; too late: {}", late.join(", "));
    }
    if watched.is_some() {
        text += &match unseen {
            0 => "; health was red meanwhile, and green again".to_owned(),
            unseen => format!("; in {unseen} health did not tell"),
        };
    }
    Ok(Outcome::new(late.is_empty() && unseen == 0, text))
}

/// Publishes to the server that serves now, past the proxy; how long it took until the task had run.
async fn run_one(site: &Site, log: &RunLog, number: u64, patience: Duration) -> Result<Option<Duration>, BoxError> {
    let app = Setup::new(site.servers[site.now].url(0)).app().await?;
    let back = now();
    mark::delay(number, 0).send(&app).await?;
    log.wait(patience, |runs| runs.iter().any(|ran| ran.number == number)).await?;
    app.close().await?;
    let ran = log.runs_of(number)?.first().map(|ran| ran.at - back);
    Ok(ran.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0))))
}
