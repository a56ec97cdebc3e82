//! A plan: a program, its measures, and the goal of each figure.

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
    /// The figures, in the order of the table.
    pub(crate) goals: &'static [Goal],
}
