//! The measurements of the embedded driver. Each is one run of `bench_embedded`, which starts itself again when it
//! needs another process.

pub mod drain;
pub mod enqueue;
pub mod footprint;
pub mod load;
pub mod round_trip;
pub mod worker;
