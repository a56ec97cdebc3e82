//! What measurements of speed share on every broker: the tasks and workers of both sides, and what they counted.

pub mod celery;
pub mod drained;
pub mod enqueue;
pub mod load;
pub mod round_trip;
pub mod tally;
pub mod worker;
