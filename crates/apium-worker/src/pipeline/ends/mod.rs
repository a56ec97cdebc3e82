//! Ends of runs that are not those of their bodies: of runs that do not begin, whose child process has died, or whose
//! body another program has.

pub(crate) mod dead_letters;
pub(crate) mod foreign_ends;
pub(crate) mod lost_runs;
pub(crate) mod without_run;
