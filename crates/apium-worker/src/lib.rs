//! The worker: it fetches messages from a broker, runs their tasks and settles them.
//!
//! `pipeline/process` is the spine. It takes each delivery through six steps: intake, execute, decide, follow, settle
//! and complete. `consume` fetches the deliveries, `slots` execute the runs that wait in the run queue, and bodies run
//! in a [`pool`]. [`builder`] and `launch` make a worker, and `worker` stops it in order.

mod backends;
pub mod builder;
pub mod child;
mod consume;
pub mod control;
mod counts;
pub mod eager;
mod follow_up;
pub mod handle;
mod health;
mod launch;
pub mod layer;
mod limits;
pub mod observe;
pub mod outcome;
mod pipeline;
pub mod pool;
mod prefetch;
mod runs;
pub mod service;
pub mod shutdown;
mod slots;
pub mod testing;
mod worker;
