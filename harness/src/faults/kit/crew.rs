//! Workers of Apium, each in its own process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use apium::prelude::BoxError;

use crate::child::Role;
use crate::faults::kit::tasks::{Setup, run_worker};

/// Starts workers.
#[derive(Debug, Clone)]
pub struct Crew {
    /// The settings of the workers.
    pub setup: Setup,
    /// Where their tasks record runs.
    pub log: PathBuf,
    /// The concurrency of each.
    pub slots: usize,
}

impl Crew {
    /// Of workers with these settings, whose tasks record runs in `log`.
    pub fn new(setup: Setup, log: &Path) -> Self {
        Self { setup, log: log.to_owned(), slots: 8 }
    }

    /// Starts a worker.
    pub fn start(&self) -> Result<Role, BoxError> {
        self.start_armed("", 1)
    }

    /// Starts a worker that dies when it reaches the crash point `point` for the `times`-th time.
    pub fn start_armed(&self, point: &str, times: u32) -> Result<Role, BoxError> {
        let Setup { url, options, lease, events } = &self.setup;
        let (slots, times, lease) = (self.slots.to_string(), times.to_string(), lease.as_millis().to_string());
        let log = self.log.display().to_string();
        let events = if *events { "events" } else { "quiet" };
        Ok(Role::start(&["worker", url, options, &lease, events, &log, &slots, point, &times])?)
    }
}

/// Runs a worker with the arguments that [`Crew::start_armed`] gave it.
pub async fn role(args: &[&str]) -> Result<(), BoxError> {
    let [url, options, lease, events, log, slots, point, times] = args else {
        return Err("read the arguments of a worker: it takes eight".into());
    };
    let lease = Duration::from_millis(lease.parse()?);
    let setup = Setup { url: (*url).to_owned(), options: (*options).to_owned(), lease, events: *events == "events" };
    run_worker(&setup, log, slots.parse()?, (point, times.parse()?)).await
}
