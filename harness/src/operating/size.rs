//! The amounts of these tests.

use std::time::Duration;

/// The amounts of a run.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Rounds in which tasks are revoked while no worker is up, and others while workers are killed.
    pub revokes: u64,
    /// Kills of workers in each of them.
    pub kills: usize,
    /// How often a worker that has fetched messages is stopped.
    pub stops: u64,
    /// How many workers are replaced under load, one after the other.
    pub restarts: usize,
    /// The time between two of them.
    pub interval: Duration,
    /// How many tasks block the reactor.
    pub blocks: u64,
    /// For how many seconds an idle worker is watched.
    pub idle: u64,
}

impl Size {
    /// The largest amounts.
    pub const FULL: Self = Self {
        revokes: 30,
        kills: 12,
        stops: 20,
        restarts: 30,
        interval: Duration::from_secs(10),
        blocks: 50,
        idle: 60,
    };

    /// Amounts for a few minutes.
    pub const USUAL: Self =
        Self { revokes: 6, kills: 8, stops: 5, restarts: 12, interval: Duration::from_secs(2), blocks: 12, idle: 20 };

    /// Amounts for a test.
    pub const BRIEF: Self =
        Self { revokes: 1, kills: 4, stops: 1, restarts: 3, interval: Duration::from_millis(500), blocks: 2, idle: 6 };

    /// The amounts that go with so many kills of `torture sqlite`.
    pub fn of_kills(kills: usize) -> Self {
        match kills {
            1000.. => Self::FULL,
            100.. => Self::USUAL,
            _ => Self::BRIEF,
        }
    }
}
