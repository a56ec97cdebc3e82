//! How much of each fault a run has: in full, as `cargo xtask torture redis` without more, and a tenth for the tests.

use std::time::Duration;

/// The amounts of a run.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Kills of Apium's workers (P1), and of Celery's.
    pub kills: usize,
    /// Kills of Celery's workers.
    pub celery_kills: usize,
    /// The visibility timeout of P2.
    pub visibility: Duration,
    /// The leases whose end P3 measures.
    pub leases: &'static [Duration],
    /// `broker_publish_timeout` of P5.
    pub deadline: Duration,
    /// Rounds of P6.
    pub rounds: usize,
    /// How long a black hole of P6 lasts.
    pub hole: Duration,
    /// Messages that are parked at once (P7).
    pub parked: u64,
    /// For how many seconds 1,000 messages come due in each.
    pub due_seconds: u64,
    /// Whether idle workers are looked at for a minute with their own settings, or for a sixth of it with all of them scaled (P16).
    pub long_idle: bool,
    /// Workers beside which another one starts.
    pub neighbours: usize,
    /// Who waits for a result at the same time (P17).
    pub waiters: u64,
    /// Whether Celery goes through the same.
    pub celery: bool,
}

impl Size {
    /// As the promises count.
    pub const FULL: Self = Self {
        kills: 1000,
        celery_kills: 30,
        visibility: Duration::from_secs(4),
        leases: &[Duration::from_secs(1), Duration::from_secs(30)],
        deadline: Duration::from_secs(5),
        rounds: 50,
        hole: Duration::from_secs(7),
        parked: 1_000_000,
        due_seconds: 30,
        long_idle: true,
        neighbours: 20,
        waiters: 1_000,
        celery: true,
    };

    /// A few minutes.
    pub const USUAL: Self = Self {
        kills: 200,
        celery_kills: 6,
        visibility: Duration::from_secs(2),
        rounds: 10,
        parked: 200_000,
        due_seconds: 10,
        neighbours: 10,
        ..Self::FULL
    };

    /// The tests' share.
    pub const BRIEF: Self = Self {
        kills: 20,
        celery_kills: 0,
        visibility: Duration::from_secs(1),
        leases: &[Duration::from_secs(1)],
        deadline: Duration::from_secs(1),
        rounds: 5,
        hole: Duration::from_secs(1),
        parked: 50_000,
        due_seconds: 2,
        long_idle: false,
        neighbours: 3,
        waiters: 200,
        celery: false,
    };
}
