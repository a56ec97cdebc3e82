//! The amounts of a test run.

use crate::operating;

/// The amounts of a run.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Tasks, of which one in a hundred loses its child.
    pub tasks: u64,
    /// Kills of whole workers.
    pub kills: usize,
    /// The amounts of what operators rely on.
    pub operating: operating::size::Size,
    /// Whether Celery is tested, too.
    pub celery: bool,
}

impl Size {
    /// The largest amounts.
    pub const FULL: Self = Self { tasks: 10_000, kills: 100, operating: operating::size::Size::FULL, celery: true };
    /// Amounts for several minutes.
    pub const USUAL: Self = Self { tasks: 10_000, kills: 20, operating: operating::size::Size::USUAL, celery: true };
    /// Amounts for a test.
    pub const BRIEF: Self = Self { tasks: 400, kills: 3, operating: operating::size::Size::BRIEF, celery: false };
}
