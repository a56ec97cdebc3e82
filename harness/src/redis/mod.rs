//! The measurements of the Redis driver beside Celery and beside a bare client on the same server. Each is one run of
//! `bench_redis`, which starts itself again for Apium's workers.

pub mod bare;
pub mod control_load;
pub mod drain;
pub mod enqueue;
pub mod events;
pub mod far;
pub mod footprint;
pub mod kit;
pub mod queues;
pub mod round_trip;
