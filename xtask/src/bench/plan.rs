//! What a plan is: a program, its measures, and what each figure should come to.

use crate::bench::goal::Goal;

/// A plan: a program, its measures and the page they go to.
pub(crate) struct Plan {
    /// Its word on the command line.
    pub(crate) name: &'static str,
    /// The program in `harness/src/bin`.
    pub(crate) binary: &'static str,
    /// Whether it talks to what `cargo xtask peers` installs.
    pub(crate) peers: bool,
    /// What each run is told; one run of the program for each.
    pub(crate) measures: &'static [&'static str],
    /// How often each is run.
    pub(crate) runs: usize,
    /// Where the table goes.
    pub(crate) page: &'static str,
    /// What is measured, for the page.
    pub(crate) about: &'static str,
    /// The figures, in the order of the table.
    pub(crate) goals: &'static [Goal],
}
