//! The amounts of a test run.

/// The amounts of a run.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Tasks, of which one in a hundred loses its child.
    pub tasks: u64,
    /// Kills of whole workers.
    pub kills: usize,
    /// Whether Celery is tested, too.
    pub celery: bool,
}

impl Size {
    /// The largest amounts.
    pub const FULL: Self = Self { tasks: 10_000, kills: 100, celery: true };
    /// Amounts for several minutes.
    pub const USUAL: Self = Self { tasks: 10_000, kills: 20, celery: true };
    /// Amounts for a test.
    pub const BRIEF: Self = Self { tasks: 400, kills: 3, celery: false };
}
