//! A connection that looks at the server directly, past everything that a test breaks.

use apium::prelude::BoxError;
use apium_peers::redis::{self, Connection, FromRedisValue};

use crate::faults::kit::tasks::QUEUE;

/// The connection.
pub struct Look(Connection);

/// What is still stored when all tasks have run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leftover {
    /// Messages in the lists of the queue.
    pub ready: u64,
    /// Entries of `unacked`, and of its index.
    pub unacked: u64,
    /// Messages in handoff lists.
    pub handoffs: u64,
    /// Lists that have delayed messages.
    pub delayed: u64,
    /// Messages in the dead set.
    pub dead: u64,
    /// Crash counts of messages that have been settled.
    pub crashes: u64,
}

impl Leftover {
    /// The sum of all.
    pub fn total(&self) -> u64 {
        self.ready + self.unacked + self.handoffs + self.delayed + self.dead + self.crashes
    }
}

impl std::fmt::Debug for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Look").finish_non_exhaustive()
    }
}

impl Look {
    /// Connects.
    pub fn at(url: &str) -> Result<Self, BoxError> {
        Ok(Self(redis::Client::open(url)?.get_connection()?))
    }

    /// What the server answers to a command.
    pub fn ask<T: FromRedisValue>(&mut self, words: &[&str]) -> Result<T, BoxError> {
        let (name, rest) = words.split_first().ok_or("ask the server: give a command")?;
        Ok(redis::cmd(name).arg(rest).query(&mut self.0)?)
    }

    /// Runs many commands in one write.
    pub fn pipe(&mut self, pipe: &redis::Pipeline) -> Result<(), BoxError> {
        Ok(pipe.query(&mut self.0)?)
    }

    /// What is still stored.
    pub fn leftover(&mut self) -> Result<Leftover, BoxError> {
        let mut leftover = Leftover::default();
        for list in [QUEUE.to_owned()].into_iter().chain([3, 6, 9].map(|step| format!("{QUEUE}\u{6}\u{16}{step}"))) {
            leftover.ready += self.ask::<u64>(&["LLEN", &list])?;
        }
        leftover.unacked = self.ask::<u64>(&["HLEN", "unacked"])?.max(self.ask(&["ZCARD", "unacked_index"])?);
        for key in self.ask::<Vec<String>>(&["KEYS", "_apium.taken.*"])? {
            if self.ask::<String>(&["TYPE", &key])? == "list" {
                leftover.handoffs += self.ask::<u64>(&["LLEN", &key])?;
            }
        }
        leftover.delayed = self.ask(&["ZCARD", "_apium.eta"])?;
        leftover.crashes = self.ask(&["HLEN", "_apium.crashes"])?;
        leftover.dead = self.ask(&["HLEN", "_apium.dead"])?;
        Ok(leftover)
    }

    /// How many of these tasks have no stored SUCCESS.
    pub fn unanswered(&mut self, ids: &[String]) -> Result<usize, BoxError> {
        let mut bad = 0;
        for part in ids.chunks(1000) {
            let keys: Vec<String> = part.iter().map(|id| format!("celery-task-meta-{id}")).collect();
            let found: Vec<Option<String>> = redis::cmd("MGET").arg(&keys).query(&mut self.0)?;
            let good =
                |text: &&Option<String>| text.as_ref().is_some_and(|text| text.contains(r#""status": "SUCCESS""#));
            bad += part.len() - found.iter().filter(good).count();
        }
        Ok(bad)
    }

    /// How often each command was run so far, those inside scripts included.
    pub fn commands(&mut self) -> Result<std::collections::BTreeMap<String, u64>, BoxError> {
        let text: String = self.ask(&["INFO", "commandstats"])?;
        let read = |line: &str| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
        };
        Ok(text.lines().filter_map(read).collect())
    }
}
