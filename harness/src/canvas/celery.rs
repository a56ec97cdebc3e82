//! Celery at the places where its chords break: its worker is killed between the last part and the publishing of the body, and between
//! that and the deletion of what was counted (`tests/interop/broken_chords.py`).

use std::time::Duration;

use apium::prelude::*;
use apium_peers::celery::{Builder, CeleryWorker};
use apium_peers::guarded::Guarded;
use apium_peers::python::Python;
use apium_peers::redis_server::RedisServer;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::json;

use crate::canvas::crew::Stores;
use crate::canvas::tasks::{BODIES, BODY, PARTS, answer};
use crate::faults::celery::eager;
use crate::faults::run_log::{Ran, RunLog};
use crate::place::Place;
use crate::report;

/// How many parts.
const SIZE: u64 = 100;

/// How long after its visibility timeout a message of the killed worker may take to be run by another one, which looks for it each
/// second, and the body behind it.
const MARGIN: Duration = Duration::from_secs(15);

/// A visibility timeout that is shorter than Celery's claim on a body.
const SHORT: Duration = Duration::from_secs(1);

/// One that is longer.
const LONG: Duration = Duration::from_secs(40);

/// How many chords are broken at a time.
const AT_ONCE: usize = 6;

/// How a chord is broken.
#[derive(Debug, Clone, Copy)]
struct Break {
    title: &'static str,
    /// `CHORDS_KILL`.
    kill: &'static str,
    acks_late: bool,
    visibility: Duration,
}

const fn broken(title: &'static str, kill: &'static str, acks_late: bool, visibility: Duration) -> Break {
    Break { title, kill, acks_late, visibility }
}

const BREAKS: [Break; 5] = [
    broken("last part counted, body not published; acks early, as by default", "before", false, SHORT),
    broken("last part counted, body not published; acks late, visibility timeout 1 s", "before", true, SHORT),
    broken("last part counted, body not published; acks late, visibility timeout 40 s", "before", true, LONG),
    broken("body published, count not ended; acks late, visibility timeout 1 s", "after", true, SHORT),
    broken("body published, count not ended; acks late, visibility timeout 40 s", "after", true, LONG),
];

/// Breaks chords of Celery so many times at each place, and prints a line for each.
pub async fn check(runs: usize) -> Result<(), BoxError> {
    let server = RedisServer::start();
    let server = &server;
    let trials = BREAKS.iter().flat_map(|broken| (0..runs).map(move |_| async move { broken.run(server).await }));
    let ends: Vec<(usize, bool)> = stream::iter(trials).buffered(AT_ONCE).try_collect().await?;
    for (broken, ends) in BREAKS.iter().zip(ends.chunks(runs)) {
        let count = |of: &dyn Fn(usize) -> bool| ends.iter().filter(|(bodies, _)| of(*bodies)).count();
        let line = json!({
            "celery": broken.title,
            "chords": runs,
            "once": count(&|bodies| bodies == 1),
            "more": count(&|bodies| bodies > 1),
            "never": count(&|bodies| bodies == 0),
            "right": ends.iter().filter(|(_, right)| *right).count(),
        });
        report::line(&line.to_string());
    }
    Ok(())
}

impl Break {
    /// How often the body ran, and whether its result is right.
    async fn run(&self, server: &RedisServer) -> Result<(usize, bool), BoxError> {
        let url = server.fresh_database().url;
        let place = Place::new()?;
        let log = RunLog::open(&place.folder().join("runs"))?;
        let _keeper = self.worker(&url, &log, BODIES).start();
        let mut victim = self.worker(&url, &log, PARTS).env("CHORDS_KILL", self.kill).start();
        let app = Stores { broker: url.clone(), backend: url.clone() }.caller().await?;
        let body: AsyncResult<Vec<u64>> = app.result(send(&url, &log)?);
        victim.wait();
        let _other = self.worker(&url, &log, PARTS).start();
        // A second body, where there is one, comes with the copy of the last part.
        let wanted = if self.kill == "after" { 2 } else { 1 };
        let bodies = |runs: &[Ran]| runs.iter().filter(|ran| ran.number == BODY).count();
        log.wait(self.visibility + MARGIN, |runs| bodies(runs) >= wanted).await?;
        let bodies = bodies(&log.read()?);
        let right = bodies > 0 && body.get().timeout(MARGIN).await? == (0..SIZE).map(answer).collect::<Vec<_>>();
        app.close().await?;
        Ok((bodies, right))
    }

    fn worker(&self, url: &str, log: &RunLog, queue: &str) -> Builder {
        CeleryWorker::of("broken_chords")
            .urls(url, url)
            .env("FAULTS_LOG", &log.path().display().to_string())
            .env("FAULTS_OPTIONS", &eager(self.visibility))
            .env("FAULTS_ACKS_EARLY", if self.acks_late { "" } else { "1" })
            .args(["-P", "solo", "-Q", queue, "-n", "chords@here"])
    }
}

/// Sends a chord; the id of its body.
fn send(url: &str, log: &RunLog) -> Result<String, BoxError> {
    let log = log.path().display().to_string();
    let env = [("BROKER_URL", url), ("RESULT_BACKEND", url), ("FAULTS_LOG", &log)];
    let mut caller = Guarded::start(&Python::find().command(["broken_chords.py", &SIZE.to_string()], &env), None)?;
    let ended = caller.wait(Duration::from_secs(60));
    let said = caller.log().text();
    match said.lines().find_map(|line| line.strip_prefix("body ")) {
        Some(id) if ended.is_some_and(|status| status.success()) => Ok(id.to_owned()),
        _ => Err(format!("send a chord with Celery: it ended with {ended:?} and printed:\n{said}").into()),
    }
}
