//! The second half of `reconnect`: outages of several lengths, with workers of 1, 2 and 10 queues. What counts is the
//! time from the server's first answer to the start of the first task.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apium::prelude::*;
use apium::worker::{StopKind, WorkerHandle};
use apium_peers::redis_server::RedisServer;

use crate::faults::kit::celery;
use crate::faults::kit::look::Look;
use crate::faults::kit::row::Outcome;
use crate::faults::kit::run_log::{RunLog, log_to, now};
use crate::faults::kit::size::Size;
use crate::faults::kit::tasks::{Setup, sleep_then_record};

/// How many queues the workers have, one each.
const QUEUES: [usize; 3] = [1, 2, 10];

/// The first task must have begun within this time after the server answers again.
const LIMIT: Duration = Duration::from_secs(1);

/// The same when the server has loaded data.
const LIMIT_AFTER_LOADING: Duration = Duration::from_secs(2);

/// When a task has not run by then, it counts as never run.
const PATIENCE: Duration = Duration::from_secs(60);

/// How an outage begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outage {
    /// Killed and started again, empty.
    KillEmpty,
    /// Killed and started again with its data.
    Kill,
    /// Killed and started again, with so much data that loading takes a while.
    KillLoading,
    /// Stopped and continued.
    Pause,
    /// Killed, and its replica becomes the master.
    Promotion,
}

const OUTAGES: [Outage; 5] = [Outage::KillEmpty, Outage::Kill, Outage::KillLoading, Outage::Pause, Outage::Promotion];

impl Outage {
    fn name(self) -> &'static str {
        match self {
            Self::KillEmpty => "kill",
            Self::Kill => "kill with data",
            Self::KillLoading => "loading",
            Self::Pause => "pause",
            Self::Promotion => "promotion",
        }
    }

    fn limit(self) -> Duration {
        if self == Self::KillLoading { LIMIT_AFTER_LOADING } else { LIMIT }
    }

    fn server(self) -> RedisServer {
        match self {
            Self::Kill => RedisServer::builder().args(["--appendonly", "yes"]).start(),
            Self::KillLoading => {
                let slowly = ["--key-load-delay", "100", "--loading-process-events-interval-bytes", "1024"];
                RedisServer::builder().args(["--save", "3600 1000000"]).args(slowly).start()
            }
            _ => RedisServer::start(),
        }
    }
}

/// A server, and its replica for a promotion.
struct Site {
    outage: Outage,
    servers: Vec<RedisServer>,
}

impl Site {
    fn new(outage: Outage) -> Result<Self, BoxError> {
        let mut servers = vec![outage.server()];
        if outage == Outage::Promotion {
            let replica = RedisServer::start();
            Look::at(&replica.url(0))?.ask::<String>(&["REPLICAOF", "127.0.0.1", &servers[0].port().to_string()])?;
            servers.push(replica);
        }
        if outage == Outage::KillLoading {
            let mut fill = apium_peers::redis::pipe();
            for n in 0..10_000 {
                fill.cmd("SET").arg(format!("filler {n}")).arg("x".repeat(100)).ignore();
            }
            Look::at(&servers[0].url(0))?.pipe(&fill)?;
        }
        Ok(Self { outage, servers })
    }

    fn url(&self) -> String {
        self.servers.iter().map(|server| server.url(0)).collect::<Vec<_>>().join(";")
    }

    /// The server that answers in the end.
    fn last(&self) -> &RedisServer {
        self.servers.last().unwrap_or(&self.servers[0])
    }

    /// Takes the server away for a time. Returns as soon as it answers again.
    async fn go_away(&self, time: Duration) -> Result<(), BoxError> {
        let server = &self.servers[0];
        match self.outage {
            Outage::Pause => {
                server.pause();
                tokio::time::sleep(time).await;
                server.resume();
            }
            Outage::Promotion => {
                server.kill();
                tokio::time::sleep(time).await;
                Look::at(&self.last().url(0))?.ask::<String>(&["REPLICAOF", "NO", "ONE"])?;
            }
            Outage::Kill | Outage::KillEmpty | Outage::KillLoading => {
                if self.outage == Outage::KillLoading {
                    Look::at(&server.url(0))?.ask::<String>(&["SAVE"])?;
                }
                server.kill();
                tokio::time::sleep(time).await;
                tokio::task::block_in_place(|| server.restart());
            }
        }
        Ok(())
    }
}

/// The time to the first task after one outage, at one worker.
#[derive(Debug, Clone)]
struct Measured {
    outage: Outage,
    away: Duration,
    queues: usize,
    /// `None` if it did not run at all.
    took: Option<Duration>,
}

impl Measured {
    fn is_late(&self) -> bool {
        self.took.is_none_or(|took| took > self.outage.limit())
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.took {
            Some(took) => write!(f, "{:.2} s", took.as_secs_f64())?,
            None => f.write_str("never")?,
        }
        write!(f, " ({}, {} s away, {} queues)", self.outage.name(), self.away.as_secs(), self.queues)
    }
}

/// The queues of the worker with so many.
fn queues_of(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("of{count}-{n}")).collect()
}

/// Runs the outages, and what Celery does in some of them. The tasks of this process record in `log`.
pub async fn check(size: &Size, log: &RunLog) -> Result<(Outcome, Option<Outcome>), BoxError> {
    log_to(log.path())?;
    let mut all = Vec::new();
    for outage in OUTAGES {
        for seconds in size.outages {
            all.extend(one_outage(outage, Duration::from_secs(*seconds), log).await?);
        }
    }
    let text = format!(
        "outages of {} s with {QUEUES:?} queues",
        size.outages.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
    );
    let celery = if size.celery { Some(celery_outages(size, log).await?) } else { None };
    Ok((outcome(&text, &all), celery))
}

async fn one_outage(outage: Outage, away: Duration, log: &RunLog) -> Result<Vec<Measured>, BoxError> {
    let site = Site::new(outage)?;
    let app = Setup::new(site.url()).app().await?;
    let mut workers: Vec<WorkerHandle> = Vec::new();
    for count in QUEUES {
        let worker = app.worker().hostname(format!("w{count}@here")).queues(queues_of(count));
        workers.push(worker.start().await?);
    }
    wait_for_waits(&site, QUEUES.iter().sum::<usize>() * 4).await?;
    site.go_away(away).await?;
    let took = run_one_each(site.last(), log).await?;
    for worker in workers {
        worker.stop_as(StopKind::Now).await;
    }
    app.close().await?;
    Ok(QUEUES.iter().zip(took).map(|(queues, took)| Measured { outage, away, queues: *queues, took }).collect())
}

/// Waits until the workers wait for messages of so many lists: each blocks on one, and the server tracks the others.
async fn wait_for_waits(site: &Site, count: usize) -> Result<(), BoxError> {
    let mut look = Look::at(&site.servers[0].url(0))?;
    let waiting = async {
        loop {
            let list: String = look.ask(&["CLIENT", "LIST"])?;
            let blocked =
                list.lines().filter(|line| line.contains(" cmd=blmove ") && line.contains(" flags=b")).count();
            let stats: String = look.ask(&["INFO", "stats"])?;
            let tracked = stats.lines().find_map(|line| line.strip_prefix("tracking_total_items:"));
            if blocked + tracked.and_then(|tracked| tracked.parse().ok()).unwrap_or(0) == count {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.map_err(|_| "wait for idle workers: they are not idle")?
}

/// Publishes a task to the last queue of each worker; how long after this call each ran.
async fn run_one_each(server: &RedisServer, log: &RunLog) -> Result<Vec<Option<Duration>>, BoxError> {
    static NEXT: AtomicU64 = AtomicU64::new(1_000_000);
    let back = now();
    let app = Setup::new(server.url(0)).app().await?;
    let mut numbers = Vec::new();
    for count in QUEUES {
        // Numbers that end with 3 would be retried.
        let number = NEXT.fetch_add(10, Ordering::Relaxed);
        let queue = queues_of(count).pop().unwrap_or_default();
        sleep_then_record::delay(number, 0).queue(queue).send(&app).await?;
        numbers.push(number);
    }
    app.close().await?;
    log.wait(PATIENCE, |runs| numbers.iter().all(|number| runs.iter().any(|ran| ran.number == *number))).await?;
    let mut took = Vec::new();
    for number in numbers {
        let ran = log.runs_of(number)?.first().map(|ran| ran.at - back);
        took.push(ran.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0))));
    }
    Ok(took)
}

/// Celery's workers in the outages without loading, up to three seconds long.
async fn celery_outages(size: &Size, log: &RunLog) -> Result<Outcome, BoxError> {
    let mut all = Vec::new();
    for outage in [Outage::Kill, Outage::Pause] {
        for seconds in size.outages.iter().filter(|seconds| **seconds <= 3) {
            let away = Duration::from_secs(*seconds);
            let site = Site::new(outage)?;
            let mut workers = Vec::new();
            for count in QUEUES {
                let worker = celery::worker(&site.url(), log.path(), "{}").env("RESULT_BACKEND", "");
                let (queues, name) = (queues_of(count).join(","), format!("w{count}@here"));
                workers.push(worker.args(["-P", "solo", "-Q", &queues, "-n", &name]).start());
            }
            run_one_each(site.last(), log).await?;
            site.go_away(away).await?;
            let took = run_one_each(site.last(), log).await?;
            all.extend(QUEUES.iter().zip(took).map(|(queues, took)| Measured { outage, away, queues: *queues, took }));
        }
    }
    Ok(outcome("kills and pauses", &all))
}

fn outcome(what: &str, all: &[Measured]) -> Outcome {
    let slowest = |chosen: &dyn Fn(&Measured) -> bool| {
        let key = |measured: &&Measured| measured.took.unwrap_or(Duration::MAX);
        all.iter().filter(|measured| chosen(measured)).max_by_key(key).map(ToString::to_string)
    };
    let mut text = what.to_owned();
    if let Some(slowest) = slowest(&|measured| measured.outage != Outage::KillLoading) {
        text += &format!(": the first task began after {slowest} at most");
    }
    if let Some(slowest) = slowest(&|measured| measured.outage == Outage::KillLoading) {
        text += &format!(", after loading {slowest}");
    }
    let late: Vec<String> = all.iter().filter(|measured| measured.is_late()).map(ToString::to_string).collect();
    if !late.is_empty() {
        text += &format!("; too late: {}", late.join(", "));
    }
    Outcome::new(late.is_empty(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outage_has_its_limit() {
        let measured = |outage, millis| Measured {
            outage,
            away: Duration::from_secs(3),
            queues: 10,
            took: Some(Duration::from_millis(millis)),
        };
        let good = [measured(Outage::Kill, 900), measured(Outage::KillLoading, 1900)];
        let found = outcome("outages", &good);
        let wanted = "outages: the first task began after 0.90 s (kill with data, 3 s away, 10 queues) at most, after \
                      loading 1.90 s (loading, 3 s away, 10 queues)";
        assert_eq!((found.kept, found.text.as_str()), (true, wanted));
        let bad =
            outcome("outages", &[measured(Outage::Pause, 1100), Measured { took: None, ..measured(Outage::Kill, 0) }]);
        assert!(!bad.kept && bad.text.contains("never"), "{}", bad.text);
    }
}
