//! The measures of the Redis driver beside Celery and beside a bare client on the same server. Each is one run of
//! `bench_redis`, which starts itself again for Apium's workers.

pub mod bare;
pub mod celery;
pub mod commands;
pub mod drain;
pub mod drained;
pub mod enqueue;
pub mod far;
pub mod footprint;
pub mod load;
pub mod round_trip;
pub mod server;
pub mod stock;
pub mod tally;
pub mod worker;
