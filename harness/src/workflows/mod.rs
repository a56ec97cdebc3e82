//! The measurements of workflows on Redis: groups, chords and chains beside Celery's, and the bytes that they send.
//! Each is one run of `bench_canvas`, which starts itself again for Apium's worker.

pub mod bytes;
pub mod flow;
pub mod published;
pub mod side_by_side;
pub mod worker;
