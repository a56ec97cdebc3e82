//! Apium's Redis driver: queues, results and groups on the keys of kombu and Celery, so that Python and Rust share them.
//!
//! A message's way: [`broker`] → `publish` → (a list of the server) → `consumer` → `claim` → `acker` → `settle`. What is taken
//! stands in kombu's `unacked` and `unacked_index` until it is settled; `attendant` shows life for it, and `bury` gives on what the dead have left.
//! `link` is the one supervised connection for commands, `wait` the connections that block, `subscribe` the one that listens. What must not
//! be torn apart is one script (`scripts/*.lua`).

mod acker;
mod admin;
mod attendant;
pub mod backend;
mod bindings;
pub mod broker;
mod bury;
mod card;
mod chord;
mod chord_args;
mod claim;
mod connect;
pub mod consumer;
mod core;
#[cfg(feature = "crash-points")]
pub mod crash;
#[cfg(not(feature = "crash-points"))]
mod crash;
mod dead;
mod document;
pub mod driver;
mod ears;
mod errors;
mod eta;
mod hear;
mod keys;
mod known;
mod letter;
mod link;
mod lists;
mod note;
mod opened;
mod operation;
mod options;
mod outbox;
mod publish;
mod record;
mod result_keys;
mod results;
mod route;
mod score;
mod script;
mod seat;
mod sequel;
mod settle;
mod source;
mod subscribe;
mod taken;
mod task;
mod tls;
mod touch;
mod unheard;
mod unsure;
mod wait;
mod watch;

pub use backend::RedisBackend;
pub use broker::RedisBroker;
pub use consumer::RedisConsumer;
pub use driver::RedisDriver;
