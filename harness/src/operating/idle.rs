//! `idle-quiet` on memory, SQLite and RabbitMQ: how often an idle worker wakes, its processor time, and what it writes
//! to its file or sends to its server.

use std::path::Path;
use std::time::Duration;

use apium::prelude::*;
use apium_peers::celery::Builder;

use crate::faults::kit::row::Outcome;
use crate::operating::crew::{Crew, Post};
use crate::operating::server::Traffic;
use crate::operating::size::Size;
use crate::process;
use crate::torture::store::file;

/// What is guaranteed, in a few words.
pub const WHAT: &str = "an idle worker does almost nothing";

/// How much of a processor an idle worker may use, in percent. Code that is not optimized takes longer for the same.
const PROCESSOR: f64 = if cfg!(debug_assertions) { 1.0 } else { 0.5 };

/// How many times a second it may write to its file, or send a command.
const QUIET: f64 = 0.2;

/// How long a worker has to become idle.
const SETTLE: Duration = Duration::from_secs(2);

/// How often the store is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Watches an idle worker with everything at its default, and one that sends events of tasks (`-E`).
pub async fn check(crew: &Crew, size: &Size) -> Result<Outcome, BoxError> {
    let by_default = watch(crew, Post::USUAL, size.idle).await?;
    // A heartbeat comes every 2 s then.
    let with_events = watch(crew, Post { events: true, ..Post::USUAL }, size.idle).await?;
    Ok(by_default.outcome("by default", QUIET).and(with_events.outcome("with `-E`", QUIET + 0.5)))
}

/// What an idle worker did in a second.
struct Idle {
    wakeups: f64,
    processor: f64,
    /// How much it did at its store, what is counted, and of what kinds it was.
    traffic: Option<(f64, &'static str, Option<String>)>,
}

impl Idle {
    fn outcome(&self, what: &str, most: f64) -> Outcome {
        let Self { wakeups, processor, traffic } = self;
        let mut text = format!("{what}: {processor:.2} % of a processor, {wakeups:.1} wake-ups/s");
        let mut quiet = *processor < PROCESSOR;
        if let Some((rate, name, kinds)) = traffic {
            text += &format!(", {rate:.2} {name}/s");
            text += &kinds.as_ref().map(|kinds| format!(" ({kinds})")).unwrap_or_default();
            quiet &= *rate < most;
        }
        Outcome::new(quiet, text)
    }
}

async fn watch(crew: &Crew, post: Post, seconds: u64) -> Result<Idle, BoxError> {
    let mut worker = crew.start_ready(post).await?;
    let idle = measure(crew, worker.pid(), seconds).await?;
    worker.terminate()?;
    match worker.stopped().await? {
        true => Ok(idle),
        false => Err("stop an idle worker: it did not end in order".into()),
    }
}

/// Watches a worker of Celery. Its pool is not counted for processor time.
pub async fn watch_celery(crew: &Crew, worker: Builder, size: &Size) -> Result<Outcome, BoxError> {
    let worker = worker.start();
    Ok(measure(crew, worker.pid(), size.idle).await?.outcome("by default", QUIET))
}

/// Measures a worker that has just started.
async fn measure(crew: &Crew, pid: u32, seconds: u64) -> Result<Idle, BoxError> {
    tokio::time::sleep(SETTLE).await;
    let (busy, woken) = (process::processor(pid)?, process::wakeups(pid)?);
    let mut traffic = match &crew.server {
        Some(server) => server.traffic(),
        None => Writes::of(&crew.site.folder)?.map(|writes| Box::new(writes) as Box<dyn Traffic>),
    };
    let until = tokio::time::Instant::now() + Duration::from_secs(seconds);
    let mut count = 0;
    while tokio::time::Instant::now() < until {
        // A worker on memory is in this process, and whatever wakes it counts.
        tokio::time::sleep(if traffic.is_some() { LOOK } else { Duration::from_secs(1) }).await;
        count += traffic.as_mut().map_or(Ok(0), |traffic| traffic.look())?;
    }
    let each = |value: f64| value / seconds as f64;
    Ok(Idle {
        wakeups: each(process::wakeups(pid)?.saturating_sub(woken) as f64),
        processor: each(process::processor(pid)?.saturating_sub(busy).as_secs_f64()) * 100.0,
        traffic: traffic.map(|traffic| (each(count as f64), traffic.name(), traffic.kinds())),
    })
}

/// Counts commits of others to the database of a folder.
struct Writes(rusqlite::Connection, i64);

impl Writes {
    /// None where the folder has no database.
    fn of(folder: &Path) -> Result<Option<Self>, BoxError> {
        let file = file(folder);
        if !file.exists() {
            return Ok(None);
        }
        let connection = rusqlite::Connection::open(file)?;
        let version = version(&connection)?;
        Ok(Some(Self(connection, version)))
    }
}

impl Traffic for Writes {
    fn name(&self) -> &'static str {
        "writes to its file"
    }

    /// At most one for each look.
    fn look(&mut self) -> Result<u64, BoxError> {
        let now = version(&self.0)?;
        let changed = now != self.1;
        self.1 = now;
        Ok(changed.into())
    }
}

/// Changes whenever another connection commits.
fn version(connection: &rusqlite::Connection) -> Result<i64, BoxError> {
    Ok(connection.query_row("PRAGMA data_version", [], |row| row.get(0))?)
}
