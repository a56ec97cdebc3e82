//! What holds a run back.

pub(crate) mod delayed_runs;
pub(crate) mod prefetch_window;
pub(crate) mod rate_limit;
pub(crate) mod time_limit;
