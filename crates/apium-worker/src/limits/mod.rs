//! What holds a run back, or ends it: etas, rate limits, marks at the broker, time limits, and how much is fetched
//! ahead.

pub(crate) mod aborts;
pub(crate) mod delayed_runs;
pub(crate) mod load;
pub(crate) mod prefetch_window;
pub(crate) mod rate_limit;
pub(crate) mod ready_runs;
pub(crate) mod result_size;
pub(crate) mod start_marks;
pub(crate) mod stopped_time;
pub(crate) mod suspects;
pub(crate) mod sync;
pub(crate) mod time_limit;
pub(crate) mod waiting_runs;
