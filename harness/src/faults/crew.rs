//! Workers of Apium in processes of their own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use apium::prelude::BoxError;

use crate::child::Role;
use crate::faults::tasks::{Setup, work};

/// How to start a worker.
#[derive(Debug, Clone)]
pub struct Crew {
    /// Its settings.
    pub setup: Setup,
    /// Where its tasks note their runs.
    pub log: PathBuf,
    /// Its concurrency.
    pub slots: usize,
}

impl Crew {
    /// Workers of these settings that log to `log`.
    pub fn new(setup: Setup, log: &Path) -> Self {
        Self { setup, log: log.to_owned(), slots: 8 }
    }

    /// Starts one.
    pub fn start(&self) -> Result<Role, BoxError> {
        self.start_armed("", 1)
    }

    /// Starts one that dies when it comes to `point` for the `times`-th time.
    pub fn start_armed(&self, point: &str, times: u32) -> Result<Role, BoxError> {
        let Setup { url, options, lease } = &self.setup;
        let (slots, times, lease) = (self.slots.to_string(), times.to_string(), lease.as_millis().to_string());
        let log = self.log.display().to_string();
        Ok(Role::start(&["work", url, options, &lease, &log, &slots, point, &times])?)
    }
}

/// The role of a worker, by the arguments of [`Crew::start_armed`].
pub async fn role(args: &[&str]) -> Result<(), BoxError> {
    let [url, options, lease, log, slots, point, times] = args else {
        return Err("read the arguments of a worker: there are seven".into());
    };
    let lease = Duration::from_millis(lease.parse()?);
    let setup = Setup { url: (*url).to_owned(), options: (*options).to_owned(), lease };
    work(&setup, log, slots.parse()?, (point, times.parse()?)).await
}
