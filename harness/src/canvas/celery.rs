//! Celery where its chords break: its worker is killed after it counted the last part and before it published the body,
//! or after that and before it deleted the count (`tests/interop/broken_chords.py`).

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
use crate::faults::kit::celery::sweep_each_second;
use crate::faults::kit::run_log::{LoggedRun, RunLog};
use crate::report;
use crate::scratch::ScratchFolder;

/// How many parts a chord has.
const SIZE: u64 = 100;

/// How long, after the visibility timeout, another worker may take to run the killed worker's message, and the body
/// after it. It looks for such messages each second.
const MARGIN: Duration = Duration::from_secs(15);

/// A visibility timeout that is shorter than Celery's claim on a body.
const SHORT: Duration = Duration::from_secs(1);

/// A visibility timeout that is longer than that.
const LONG: Duration = Duration::from_secs(40);

/// How many chords run at a time.
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

/// Breaks chords of Celery `runs` times at each point, and prints a line for each point.
pub async fn check(runs: usize) -> Result<(), BoxError> {
    let server = RedisServer::start();
    let server = &server;
    let trials = BREAKS.iter().flat_map(|broken| (0..runs).map(move |_| async move { broken.run(server).await }));
    let outcomes: Vec<(usize, bool)> = stream::iter(trials).buffered(AT_ONCE).try_collect().await?;
    for (broken, outcomes) in BREAKS.iter().zip(outcomes.chunks(runs)) {
        let count = |of: &dyn Fn(usize) -> bool| outcomes.iter().filter(|(bodies, _)| of(*bodies)).count();
        let line = json!({
            "celery": broken.title,
            "chords": runs,
            "once": count(&|bodies| bodies == 1),
            "more": count(&|bodies| bodies > 1),
            "never": count(&|bodies| bodies == 0),
            "right": outcomes.iter().filter(|(_, right)| *right).count(),
        });
        report::line(&line.to_string());
    }
    Ok(())
}

impl Break {
    /// How often the body ran, and whether its result is right.
    async fn run(&self, server: &RedisServer) -> Result<(usize, bool), BoxError> {
        let url = server.fresh_database().url;
        let scratch = ScratchFolder::new()?;
        let log = RunLog::open(&scratch.folder().join("runs"))?;
        let _body_worker = self.worker(&url, &log, BODIES).start();
        let mut victim = self.worker(&url, &log, PARTS).env("CHORDS_KILL", self.kill).start();
        let app = Stores { broker: url.clone(), backend: url.clone() }.caller().await?;
        let body: AsyncResult<Vec<u64>> = app.result(send(&url, &log)?);
        victim.wait();
        let _other = self.worker(&url, &log, PARTS).start();
        // If there is a second body, it comes when the last part runs again.
        let wanted = if self.kill == "after" { 2 } else { 1 };
        let bodies = |runs: &[LoggedRun]| runs.iter().filter(|ran| ran.number == BODY).count();
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
            .env("FAULTS_OPTIONS", &sweep_each_second(self.visibility))
            .env("FAULTS_ACKS_EARLY", if self.acks_late { "" } else { "1" })
            .args(["-P", "solo", "-Q", queue, "-n", "chords@here"])
    }
}

/// Sends a chord and returns the id of its body.
fn send(url: &str, log: &RunLog) -> Result<String, BoxError> {
    let log = log.path().display().to_string();
    let env = [("BROKER_URL", url), ("RESULT_BACKEND", url), ("FAULTS_LOG", &log)];
    let mut caller = Guarded::start(&Python::find().command(["broken_chords.py", &SIZE.to_string()], &env), None)?;
    let status = caller.wait(Duration::from_secs(60));
    let output = caller.log().text();
    match output.lines().find_map(|line| line.strip_prefix("body ")) {
        Some(id) if status.is_some_and(|status| status.success()) => Ok(id.to_owned()),
        _ => Err(format!("send a chord with Celery: it ended with {status:?} and printed:\n{output}").into()),
    }
}
