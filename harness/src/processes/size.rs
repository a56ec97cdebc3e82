//! The amounts of a test run.

use crate::operating;

/// The amounts of a run.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Tasks, of which one in a hundred loses its child.
    pub tasks: u64,
    /// Kills of whole workers.
    pub kills: usize,
    /// Tasks that kill their child again and again, and tasks of each kind that never end.
    pub killers: u64,
    /// The amounts of what operators rely on.
    pub operating: operating::size::Size,
    /// Whether Celery is tested, too.
    pub celery: bool,
}

impl Size {
    /// The largest amounts.
    pub const FULL: Self =
        Self { tasks: 10_000, kills: 100, killers: 20, operating: operating::size::Size::FULL, celery: true };
    /// Amounts for several minutes.
    pub const USUAL: Self =
        Self { tasks: 10_000, kills: 20, killers: 6, operating: operating::size::Size::USUAL, celery: true };
    /// Amounts for a test.
    pub const BRIEF: Self =
        Self { tasks: 400, kills: 3, killers: 1, operating: operating::size::Size::BRIEF, celery: false };
}
