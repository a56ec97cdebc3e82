//! The real servers and the real Celery that tests and benches run against.
//!
//! `cargo xtask test` sees to it that they are installed; this crate starts them, each in a process that ends with the one
//! that started it, however that ends ([`guarded`]). A [`RedisServer`](redis_server::RedisServer) gives every test a
//! database of its own; a [`Proxy`](proxy::Proxy) stands between client and server and makes the network fail; a
//! [`CeleryWorker`](celery::CeleryWorker) is Celery itself.
//!
//! It is beside the house and used by tests and benches only, so what cannot be started is a panic that says why.

#[cfg(feature = "client")]
pub use redis;

pub mod celery;
pub mod database;
mod directory;
pub mod guarded;
pub mod log;
pub mod port;
pub mod proxy;
pub mod python;
pub mod redis_server;
pub mod target;
