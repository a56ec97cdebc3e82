//! The real servers and the real Celery that tests and benches run against.
//!
//! `cargo xtask test` installs them; this crate starts them, each in a process that ends with the process that started
//! it ([`guarded`]). A [`RedisServer`](redis_server::RedisServer) gives each test its own database, a
//! [`RabbitmqServer`](rabbitmq_server::RabbitmqServer) its own vhost; a
//! [`Proxy`](proxy::Proxy) between client and server makes the network fail; a [`CeleryWorker`](celery::CeleryWorker)
//! is Celery itself.
//!
//! Only tests and benches use this crate, so what cannot be started is a panic that says why.

#[cfg(feature = "client")]
pub use redis;

pub mod celery;
pub mod certificates;
mod directory;
pub mod guarded;
pub mod http;
pub mod log;
pub mod namespace;
pub mod port;
pub mod proxy;
pub mod python;
pub mod rabbitmq_server;
pub mod redis_server;
pub mod target;
