//! The amounts of a test run: in full (`--full`), as `cargo xtask torture amqp` has them by itself, and a share for the
//! tests.

use std::time::Duration;

use crate::operating::size::Size as OfOperating;

/// The amounts of a run.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Kills of workers (`nothing-lost`).
    pub kills: usize,
    /// How often the server is killed meanwhile. It needs many seconds to start.
    pub restarts: usize,
    /// How often connections are cut meanwhile.
    pub cuts: usize,
    /// Tasks that kill their workers (`crash-loop`).
    pub killers: u64,
    /// `broker_publish_timeout` of `deadline`.
    pub deadline: Duration,
    /// Rounds of `reconnect`.
    pub rounds: usize,
    /// How long the task of `run-once` takes, whose connection is cut.
    pub long: Duration,
    /// Messages that are delayed at once (`million-etas`).
    pub etas: u64,
    /// For how many seconds 50 messages become due in each.
    pub due_seconds: u64,
    /// Takeovers of each type of queue (`takeover`).
    pub takeovers: usize,
    /// Of what an operator does and relies on (`durable-revokes`, `warm-shutdown`, `blocked-reactor`, `idle-quiet`).
    pub operating: OfOperating,
    /// Whether Celery is tested, too.
    pub celery: bool,
}

impl Size {
    /// The largest amounts.
    pub const FULL: Self = Self {
        kills: 1000,
        restarts: 40,
        cuts: 160,
        killers: 20,
        deadline: Duration::from_secs(5),
        rounds: 60,
        long: Duration::from_secs(20),
        etas: 1_000_000,
        due_seconds: 30,
        takeovers: 10,
        operating: OfOperating::FULL,
        celery: true,
    };

    /// Amounts for several minutes.
    pub const USUAL: Self = Self {
        kills: 200,
        restarts: 10,
        cuts: 40,
        killers: 6,
        rounds: 16,
        long: Duration::from_secs(10),
        etas: 100_000,
        due_seconds: 10,
        takeovers: 4,
        operating: OfOperating::USUAL,
        ..Self::FULL
    };

    /// Amounts for a test.
    pub const BRIEF: Self = Self {
        kills: 20,
        restarts: 1,
        cuts: 5,
        killers: 2,
        deadline: Duration::from_secs(1),
        rounds: 4,
        long: Duration::from_secs(3),
        etas: 5_000,
        due_seconds: 2,
        takeovers: 1,
        operating: OfOperating::BRIEF,
        celery: false,
    };
}
