//! The worker: it takes messages from a broker, runs their tasks and settles them.
//!
//! `process` is the spine; a delivery's four stops are `intake`, `executor`, `settle` and `completer`. Around it stand
//! `consume`, which owns the fetching loop, `ready`, which lines up what was fetched, the [`pool`], and `worker`, which
//! stops everything in order.

mod again;
pub mod builder;
mod checks;
mod chord_body;
mod cold;
mod completer;
mod consume;
mod count;
mod errback;
mod eta;
mod executor;
mod fail;
mod finish;
mod follow;
mod follow_ups;
pub mod handle;
mod health;
mod health_listen;
mod hooks;
mod intake;
mod launch;
pub mod layer;
pub mod local;
mod log;
mod namesake;
pub mod node;
pub mod outcome;
pub mod part;
pub mod pool;
mod probes;
mod process;
mod rate_limit;
mod ready;
mod ready_file;
mod sender;
mod settle;
pub mod shutdown;
pub mod testing;
mod time_limit;
mod verdict;
mod watchdog;
mod window;
mod work;
mod worker;
