//! Apium's Redis driver: queues, results and groups on the keys of kombu and Celery, so that Python and Rust share them.
//!
//! A message's way: [`broker`] → `publish` → (a list of the server) → `consumer` → `claim` → `acker` → `settle`. What is taken
//! stands in kombu's `unacked` and `unacked_index` until it is settled; `attendant` shows life for it, and `bury` gives on what the dead have left.
//! `link` is the one supervised connection for commands, `wait` the connections that block, `subscribe` the one that listens. What must not
//! be torn apart is one script (`scripts/*.lua`).

mod admin;
pub mod backend;
pub mod broker;
mod connection;
pub mod consumer;
#[cfg(feature = "crash-points")]
pub mod crash_points;
#[cfg(not(feature = "crash-points"))]
mod crash_points;
mod dead_letter;
mod dead_set;
mod declared;
pub mod driver;
mod errors;
mod keys;
mod options;
mod publish;
mod pubsub;
mod scripts;
mod settle;
mod shared;

pub use backend::backend::RedisBackend;
pub use broker::RedisBroker;
pub use consumer::consumer::RedisConsumer;
pub use driver::RedisDriver;
