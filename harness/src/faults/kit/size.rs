//! The amounts of a test run: in full (`--full`), as `cargo xtask torture redis` has them by itself, and a share for
//! the tests.

use std::time::Duration;

use crate::operating::size::Size as OfOperating;

/// The amounts of a run.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Kills of Apium's workers (`nothing-lost`).
    pub kills: usize,
    /// Kills of Celery's workers.
    pub celery_kills: usize,
    /// The visibility timeout of `run-once`.
    pub visibility: Duration,
    /// The leases of `takeover`.
    pub leases: &'static [Duration],
    /// `broker_publish_timeout` of `deadline`.
    pub deadline: Duration,
    /// Rounds of `reconnect`.
    pub rounds: usize,
    /// For how many seconds the server of `reconnect` is away.
    pub outages: &'static [u64],
    /// How long a black hole of `reconnect` lasts.
    pub black_hole: Duration,
    /// Messages that are delayed at once (`million-etas`).
    pub etas: u64,
    /// For how many seconds 1,000 messages become due in each.
    pub due_seconds: u64,
    /// Whether idle workers are measured for a minute, or for a sixth of it with all their times scaled (`idle-quiet`).
    pub long_idle: bool,
    /// How many workers run when another one starts.
    pub neighbours: usize,
    /// How many wait for a result at the same time (`waiters`).
    pub waiters: u64,
    /// Rounds in which every place panics (`user-code`).
    pub user_code: u64,
    /// The same with Celery.
    pub celery_user_code: u64,
    /// How often a server refuses in each way (`refusing-store`).
    pub refusals: u64,
    /// How often processes are stopped in each way, and rounds of tasks whose workers' clocks are set (`clock-jumps`).
    pub stops: u64,
    /// For how many seconds the server of `outage-no-failure` is away, one round after the other.
    pub away: &'static [u64],
    /// Of what an operator does and relies on (`durable-revokes`, `warm-shutdown`, `blocked-reactor`).
    pub operating: OfOperating,
    /// Whether Celery is tested, too.
    pub celery: bool,
}

impl Size {
    /// The largest amounts.
    pub const FULL: Self = Self {
        kills: 1000,
        celery_kills: 30,
        visibility: Duration::from_secs(4),
        leases: &[Duration::from_secs(1), Duration::from_secs(30)],
        deadline: Duration::from_secs(5),
        rounds: 50,
        outages: &[0, 1, 3, 7, 20],
        black_hole: Duration::from_secs(7),
        etas: 1_000_000,
        due_seconds: 30,
        long_idle: true,
        neighbours: 20,
        waiters: 1_000,
        user_code: 50,
        celery_user_code: 10,
        refusals: 20,
        stops: 30,
        away: &[1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4],
        operating: OfOperating::FULL,
        celery: true,
    };

    /// Amounts for a few minutes.
    pub const USUAL: Self = Self {
        kills: 200,
        celery_kills: 6,
        visibility: Duration::from_secs(2),
        rounds: 10,
        outages: &[0, 1, 3, 7],
        etas: 200_000,
        due_seconds: 10,
        neighbours: 10,
        user_code: 10,
        celery_user_code: 3,
        refusals: 4,
        stops: 6,
        away: &[1, 2, 3, 4],
        operating: OfOperating::USUAL,
        ..Self::FULL
    };

    /// Amounts for a test.
    pub const BRIEF: Self = Self {
        kills: 20,
        celery_kills: 0,
        visibility: Duration::from_secs(1),
        leases: &[Duration::from_secs(1)],
        deadline: Duration::from_secs(1),
        rounds: 5,
        outages: &[1],
        black_hole: Duration::from_secs(1),
        etas: 50_000,
        due_seconds: 2,
        long_idle: false,
        neighbours: 3,
        waiters: 200,
        user_code: 2,
        celery_user_code: 0,
        refusals: 1,
        stops: 1,
        away: &[1],
        operating: OfOperating::BRIEF,
        celery: false,
    };
}
