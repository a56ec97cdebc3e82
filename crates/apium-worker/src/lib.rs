//! The worker: it takes messages from a broker, runs their tasks and settles them.
//!
//! `process` is the spine; a delivery's four stops are `intake`, `executor`, `settle` and `completer`. Around it stand
//! `consume`, which owns the fetching loop, `ready`, which lines up what was fetched, the [`pool`], and `worker`, which
//! stops everything in order.

mod backends;
pub mod builder;
mod consume;
mod counts;
pub mod eager;
mod follow_up;
pub mod handle;
mod health;
mod launch;
pub mod layer;
mod limits;
pub mod node_name;
pub mod outcome;
mod pipeline;
pub mod pool;
pub mod service;
pub mod shutdown;
mod slots;
pub mod testing;
mod worker;
