//! `reconnect`: a worker consumes again soon after the broker is back, and its health is red meanwhile. Here the broker
//! breaks in several ways, for a moment; in `outages` it is away for longer, and workers have several queues.

use std::time::Duration;

use apium::prelude::*;
use apium::worker::{StopKind, WorkerHandle};
use apium_peers::proxy::Proxy;
use apium_peers::redis_server::RedisServer;

use crate::faults::kit::celery;
use crate::faults::kit::look::Look;
use crate::faults::kit::row::{Outcome, Row};
use crate::faults::kit::run_log::{RunLog, log_to, now};
use crate::faults::kit::size::Size;
use crate::faults::kit::tasks::{Setup, sleep_then_record};
use crate::faults::outages;
use crate::scratch::ScratchFolder;

/// A task must have run within this time after the broker is back.
const LIMIT: Duration = Duration::from_secs(2);

/// Health must be red within this time after an outage begins.
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
    /// The index of the server that is in use.
    active: usize,
}

impl Site {
    fn new() -> Self {
        let servers = [RedisServer::start(), RedisServer::start()];
        let proxies = [Proxy::to(servers[0].port()), Proxy::to(servers[1].port())];
        // The second server is refused until a failover.
        proxies[1].refuse(true);
        Self { servers, proxies, active: 0 }
    }

    fn list(&self) -> String {
        let [one, two] = [0, 1].map(|index: usize| self.url(index));
        format!("{one};{two}")
    }

    fn url(&self, index: usize) -> String {
        format!("redis://127.0.0.1:{}/0", self.proxies[index].port())
    }

    /// Breaks the broker and repairs it. Whether the health of `watched` turned red in an outage that lasts.
    async fn break_and_repair(
        &mut self,
        fault: Fault,
        black_hole: Duration,
        watched: Watched<'_>,
    ) -> Result<bool, BoxError> {
        let (server, proxy) = (&self.servers[self.active], &self.proxies[self.active]);
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
                tokio::time::sleep(black_hole).await;
                noticed = turns(watched, false).await;
                proxy.black_hole(false);
            }
            Fault::Failover => {
                proxy.refuse(true);
                proxy.cut();
                self.active = 1 - self.active;
                self.proxies[self.active].refuse(false);
            }
        }
        Ok(noticed)
    }
}

/// A worker whose health is checked; nothing for Celery.
type Watched<'a> = Option<&'a WorkerHandle>;

/// Whether health turns green, or red, within [`RED`].
async fn turns(watched: Watched<'_>, green: bool) -> bool {
    let Some(worker) = watched else { return true };
    let turned = async {
        while worker.health().is_green() != green {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(RED, turned).await.is_ok()
}

/// Runs the test.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let mut site = Site::new();
    let scratch = ScratchFolder::new()?;
    let log = RunLog::open(&scratch.folder().join("runs"))?;
    log_to(log.path())?;
    let app = Setup::new(site.list()).app().await?;
    let worker = app.worker().start().await?;
    let apium = rounds(&mut site, &log, size.rounds, size.black_hole, Some(&worker)).await?;
    worker.stop_as(StopKind::Now).await;
    app.close().await?;
    let mut celery = if size.celery { Some(celery_reconnects(size).await?) } else { None };
    let (outages, celery_outages) = outages::check(size, &log).await?;
    if let (Some(rounds), Some(outages)) = (celery.take(), celery_outages) {
        celery = Some(rounds.and(outages));
    }
    let what = "a worker consumes again within 1 s, after loading within 2 s, of the broker's first answer";
    Ok(Row { guarantee: "reconnect", what, apium: apium.and(outages), celery })
}

async fn celery_reconnects(size: &Size) -> Result<Outcome, BoxError> {
    let mut site = Site::new();
    let scratch = ScratchFolder::new()?;
    let log = RunLog::open(&scratch.folder().join("runs"))?;
    // Its result backend takes no list of servers.
    let worker = celery::worker(&site.list(), log.path(), "{}").env("RESULT_BACKEND", "");
    let _worker = worker.args(["-P", "solo", "-n", "one@here"]).start();
    rounds(&mut site, &log, size.rounds.min(10), size.black_hole, None).await
}

async fn rounds(
    site: &mut Site,
    log: &RunLog,
    count: usize,
    black_hole: Duration,
    watched: Watched<'_>,
) -> Result<Outcome, BoxError> {
    let first = run_one(site, log, 0, LIMIT * 2).await?;
    if first.is_none() {
        return Ok(Outcome::new(false, "it did not consume at all"));
    }
    let (mut worst, mut too_late, mut unseen) = (Duration::ZERO, Vec::new(), 0);
    for (round, fault) in FAULTS.iter().cycle().take(count).enumerate() {
        let noticed = site.break_and_repair(*fault, black_hole, watched).await?;
        // Numbers that end with 3 would be retried.
        let number = (round as u64 + 1) * 10;
        match run_one(site, log, number, LIMIT * 3).await? {
            Some(took) => {
                worst = worst.max(took);
                if took > LIMIT {
                    too_late.push(format!("{fault:?} {:.1} s", took.as_secs_f64()));
                }
            }
            None => too_late.push(format!("{fault:?} never")),
        }
        unseen += usize::from(!noticed || !turns(watched, true).await);
    }
    let mut text = format!(
        "{count} rounds of restart, CLIENT KILL, reset, black outage, failover: slowest {:.1} s",
        worst.as_secs_f64()
    );
    if !too_late.is_empty() {
        text += &format!("; too late: {}", too_late.join(", "));
    }
    if watched.is_some() {
        text += &match unseen {
            0 => "; health was red meanwhile, and green again".to_owned(),
            unseen => format!("; in {unseen} rounds health did not show it"),
        };
    }
    Ok(Outcome::new(too_late.is_empty() && unseen == 0, text))
}

/// Publishes to the server that is in use, past the proxy; how long it took until the task had run.
async fn run_one(site: &Site, log: &RunLog, number: u64, patience: Duration) -> Result<Option<Duration>, BoxError> {
    let app = Setup::new(site.servers[site.active].url(0)).app().await?;
    let back = now();
    sleep_then_record::delay(number, 0).send(&app).await?;
    log.wait(patience, |runs| runs.iter().any(|ran| ran.number == number)).await?;
    app.close().await?;
    let ran = log.runs_of(number)?.first().map(|ran| ran.at - back);
    Ok(ran.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0))))
}
