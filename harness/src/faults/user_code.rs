//! `user-code`: code of the user's that panics or hangs costs its own task only. With Celery, exceptions of Python
//! stand for panics.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use apium::prelude::*;
use apium_peers::celery::CeleryWorker;
use apium_peers::redis_server::RedisServer;
use serde::Deserialize;

use crate::faults::kit::celery::program;
use crate::faults::kit::row::{Outcome, Row};
use crate::faults::kit::size::Size;
use crate::faults::kit::tasks::Setup;
use crate::scratch::ScratchFolder;
use crate::user_code::trial;

/// How long the caller of Celery may take.
const LIMIT: Duration = Duration::from_secs(300);

/// The bound of a warm stop of a worker that runs nothing.
const STOP: Duration = Duration::from_secs(20);

/// Runs the test.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let server = RedisServer::start();
    let mut databases = 0..;
    let builder = || Setup::new(server.url(databases.next().unwrap_or(0))).builder();
    let apium = trial::check(size.user_code, builder).await?;
    let celery = match size.celery {
        true => Some(celery(size.celery_user_code, true)?.and(celery(size.celery_user_code, false)?)),
        false => None,
    };
    Ok(Row { guarantee: "user-code", what: "code that panics or hangs ends its own task only", apium, celery })
}

/// A worker of Celery with the same places, as far as it has them, with late and with early acknowledgement.
fn celery(rounds: u64, acks_late: bool) -> Result<Outcome, BoxError> {
    let server = RedisServer::start();
    let scratch = ScratchFolder::new()?;
    let (url, log) = (server.url(0), scratch.folder().join("runs").display().to_string());
    let mut env = vec![("BROKER_URL", &*url), ("RESULT_BACKEND", &*url), ("USER_CODE_LOG", &*log)];
    if !acks_late {
        env.push(("USER_CODE_EARLY", "1"));
    }
    let worker = env.iter().fold(CeleryWorker::of("user_code"), |worker, (name, value)| worker.env(name, value));
    let mut worker = worker.args(["-c", "4", "-n", "one@here"]).start();
    let acks = if acks_late { "late" } else { "early" };
    let printed = program(["user_code.py", &rounds.to_string()], &env, LIMIT)?;
    let counted = printed.as_deref().and_then(|line| serde_json::from_str::<Counted>(line).ok());
    let Some(counted) = counted else {
        return Ok(Outcome::new(false, format!("{acks} ack: the caller did not end: {}", printed.unwrap_or_default())));
    };
    let began = Instant::now();
    worker.terminate();
    worker.wait();
    let stopped = began.elapsed();
    let kept = counted.is_kept() && stopped < STOP;
    Ok(Outcome::new(kept, format!("{acks} ack: {counted}; a warm stop took {:.1} s", stopped.as_secs_f64())))
}

/// What the caller of Celery counted.
#[derive(Debug, Deserialize)]
struct Counted {
    places: usize,
    rounds: usize,
    /// Tasks that did not end as wanted, by what they did.
    wrong: BTreeMap<String, usize>,
    innocents: usize,
    ran_once: usize,
    succeeded: usize,
    goes_on: bool,
    ready: usize,
    unacked: usize,
}

impl Counted {
    fn is_kept(&self) -> bool {
        let all = [self.ran_once, self.succeeded] == [self.innocents; 2];
        all && self.wrong.is_empty() && self.goes_on && self.ready + self.unacked == 0
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wrong, sent) = (self.wrong.values().sum::<usize>(), self.places * self.rounds);
        let (places, rounds) = (self.places, self.rounds);
        write!(f, "{places} places × {rounds} rounds: {} ended, {wrong} did not", sent.saturating_sub(wrong))?;
        for (what, count) in &self.wrong {
            write!(f, ", {count}× {what}")?;
        }
        let Self { innocents, ran_once, succeeded, ready, unacked, .. } = self;
        let goes_on = if self.goes_on { "goes on" } else { "does not go on" };
        write!(
            f,
            "; of {innocents} innocent tasks {ran_once} ran once and {succeeded} succeeded; the worker {goes_on}; {} left over",
            ready + unacked
        )
    }
}
