//! A plan: a program, its measures, and what its page shows of the figures.

use crate::bench::figures::Figures;
use crate::bench::goal::Goal;

/// A plan.
pub(crate) struct Plan {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// The program in `harness/src/bin`.
    pub(crate) binary: &'static str,
    /// Whether it needs what `cargo xtask peers` installs.
    pub(crate) peers: bool,
    /// The measures; the program runs once for each.
    pub(crate) measures: &'static [&'static str],
    /// How often each measure is run.
    pub(crate) runs: usize,
    /// The page of the table.
    pub(crate) page: &'static str,
    /// What is measured, as the page says it.
    pub(crate) about: &'static str,
    /// What the page shows of the figures.
    pub(crate) content: Page,
}

/// What a page shows of the figures.
#[derive(Clone, Copy)]
pub(crate) enum Page {
    /// A table of these, in their order, with their goals.
    Goals(&'static [Goal]),
    /// Text with tables, which this makes. Nothing in it has a goal.
    Sections(fn(&Figures) -> String),
}
