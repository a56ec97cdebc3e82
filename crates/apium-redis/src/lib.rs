//! Apium's Redis driver: queues, results, groups and chords on the keys of kombu and Celery, so that Python and Rust
//! share them.
//!
//! The way of a message: [`broker`] → `publish/publish` → a list in the server → `consumer/consumer` → `consumer/claim`
//! → `settle/acker` → `settle/settle`. From the claim until it is settled it is in flight, in kombu's hash `unacked`
//! and sorted set `unacked_index`. `consumer/maintenance` sends the heartbeats of a consumer, and `consumer/reclaim`
//! gives the messages of a dead one back.
//!
//! There are three kinds of connections: `connection/commands` is the one for commands, `consumer/blocking_wait` has
//! those that wait for messages, and `pubsub` has one for each subscriber. Each atomic step is one script, in
//! `scripts/lua`.

mod admin;
pub mod backend;
mod broadcast;
pub mod broker;
mod connection;
pub mod consumer;
#[cfg(feature = "crash-points")]
pub mod crash_points;
#[cfg(not(feature = "crash-points"))]
mod crash_points;
mod dead_letter;
mod dead_set;
pub mod driver;
mod errors;
mod fleet;
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
