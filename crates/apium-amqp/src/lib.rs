//! Apium's RabbitMQ driver: exchanges, queues and messages as Celery declares and sends them, so that Python and Rust
//! share them.
//!
//! The way of a message: [`broker`] → `publish/publish` → `publish/publisher` → a queue in the server →
//! `consumer/open_channel` → `consumer/consumer` → `settle/acker`. Until it is acked it belongs to the channel by which
//! it came. When that is lost the server delivers it again, and `consumer/state` gives it to the run that goes on.
//!
//! There are two connections: one publishes, and the server stops reading from it while its memory or disk is full; the
//! other consumes, declares and listens (`connection/link`). A thread of the driver's own serves both.

mod admin;
pub mod backend;
mod broadcast;
pub mod broker;
mod commands;
mod connection;
pub mod consumer;
#[cfg(feature = "crash-points")]
pub mod crash_points;
#[cfg(not(feature = "crash-points"))]
mod crash_points;
mod dead_set;
pub mod driver;
mod errors;
mod fleet;
mod options;
mod publish;
mod settle;
mod shared;

pub use backend::backend::RpcBackend;
pub use broker::AmqpBroker;
pub use consumer::consumer::AmqpConsumer;
pub use driver::AmqpDriver;
