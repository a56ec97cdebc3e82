//! The amounts of a test run.

use std::time::Duration;

use crate::operating;

const LATE: Duration = Duration::from_secs(1);
const LATE_IN_TESTS: Duration = Duration::from_secs(20);

/// The amounts of a run.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Tasks, of which one in a hundred loses its child.
    pub tasks: u64,
    /// Kills of whole workers.
    pub kills: usize,
    /// Tasks that kill their child again and again, and tasks of each kind that never end.
    pub killers: u64,
    /// How much later than its limit a task may end, a new child included. The tests of a busy machine have more.
    pub late: Duration,
    /// The amounts of what operators rely on.
    pub operating: operating::size::Size,
    /// Whether Celery is tested, too.
    pub celery: bool,
}

impl Size {
    /// The largest amounts.
    pub const FULL: Self = Self {
        tasks: 10_000,
        kills: 100,
        killers: 20,
        late: LATE,
        operating: operating::size::Size::FULL,
        celery: true,
    };
    /// Amounts for several minutes.
    pub const USUAL: Self = Self {
        tasks: 10_000,
        kills: 20,
        killers: 6,
        late: LATE,
        operating: operating::size::Size::USUAL,
        celery: true,
    };
    /// Amounts for a test.
    pub const BRIEF: Self = Self {
        tasks: 400,
        kills: 3,
        killers: 1,
        late: LATE_IN_TESTS,
        operating: operating::size::Size::BRIEF,
        celery: false,
    };
}
