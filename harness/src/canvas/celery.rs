//! Celery at the places where its chords break: its worker is killed between the last part and the publishing of the body, and between
//! that and the deletion of what was counted (`tests/interop/broken_chords.py`).

use std::time::Duration;

use apium::prelude::*;
use apium_peers::celery::{Builder, CeleryWorker};
use apium_peers::guarded::Guarded;
use apium_peers::python::Python;
use apium_peers::redis_server::RedisServer;
use serde_json::json;

use crate::canvas::crew::Stores;
use crate::canvas::tasks::{BODIES, BODY, LAST, PARTS, answer};
use crate::faults::celery::eager;
use crate::faults::run_log::RunLog;
use crate::place::Place;
use crate::report;

/// How many parts.
const SIZE: u64 = 100;

/// Within this a message of the killed worker is given to another one: its visibility timeout is a second, and it is looked for each
/// second.
const PATIENCE: Duration = Duration::from_secs(15);

/// How a chord is broken.
struct Break {
    title: &'static str,
    /// `CHORDS_KILL`.
    kill: &'static str,
    acks_late: bool,
}

const BREAKS: [Break; 3] = [
    Break {
        title: "between the last part and the body's message, acks early as by default",
        kill: "before",
        acks_late: false,
    },
    Break { title: "between the last part and the body's message, acks late", kill: "before", acks_late: true },
    Break { title: "between the body's message and the end of the count, acks late", kill: "after", acks_late: true },
];

/// Breaks chords of Celery so many times at each place, and prints a line for each.
pub async fn check(runs: usize) -> Result<(), BoxError> {
    let server = RedisServer::start();
    for broken in &BREAKS {
        let (mut once, mut twice, mut never, mut right) = (0, 0, 0, 0);
        for _ in 0..runs {
            let (bodies, whole) = broken.run(&server).await?;
            match bodies {
                0 => never += 1,
                1 => once += 1,
                _ => twice += 1,
            }
            right += usize::from(whole);
        }
        let line = json!({
            "celery": broken.title, "chords": runs, "once": once, "more": twice, "never": never, "right": right,
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
        let worker = |queues: &str, name: &str| self.worker(&url, &log, queues, name);
        let _keeper = worker(BODIES, "keeper").start();
        let mut victim = worker(PARTS, "victim").env("CHORDS_KILL", self.kill).start();
        let app = Stores { broker: url.clone(), backend: url.clone() }.caller().await?;
        let body: AsyncResult<Vec<u64>> = app.result(send(&url, &log)?);
        victim.wait();
        let _other = worker(&format!("{PARTS},{LAST}"), "other").start();
        let ran = |count: usize| {
            log.wait(PATIENCE, move |runs| runs.iter().filter(|ran| ran.number == BODY).count() >= count)
        };
        // A second body, where there is one, comes with the copy of the last part.
        if self.kill == "after" {
            ran(2).await?;
        } else {
            ran(1).await?;
        }
        let bodies = log.runs_of(BODY)?.len();
        let right = bodies > 0 && body.get().timeout(PATIENCE).await? == (0..SIZE).map(answer).collect::<Vec<_>>();
        app.close().await?;
        Ok((bodies, right))
    }

    fn worker(&self, url: &str, log: &RunLog, queues: &str, name: &str) -> Builder {
        let name = format!("{name}@here");
        CeleryWorker::of("broken_chords")
            .urls(url, url)
            .env("FAULTS_LOG", &log.path().display().to_string())
            .env("FAULTS_OPTIONS", &eager(Duration::from_secs(1)))
            .env("FAULTS_ACKS_EARLY", if self.acks_late { "" } else { "1" })
            .args(["-P", "solo", "-Q", queues, "-n", &name])
    }
}

/// Sends a chord; the id of its body.
fn send(url: &str, log: &RunLog) -> Result<String, BoxError> {
    let log = log.path().display().to_string();
    let env = [("BROKER_URL", url), ("RESULT_BACKEND", url), ("FAULTS_LOG", &log)];
    let mut caller = Guarded::start(&Python::find().command(["broken_chords.py", &SIZE.to_string()], &env), None)?;
    let ended = caller.wait(Duration::from_secs(60));
    let said = caller.log().text();
    match said.lines().last() {
        Some(id) if ended.is_some_and(|status| status.success()) => Ok(id.to_owned()),
        _ => Err(format!("send a chord with Celery: it ended with {ended:?} and printed:\n{said}").into()),
    }
}
