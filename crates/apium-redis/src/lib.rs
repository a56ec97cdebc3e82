//! Apium's Redis driver: queues, results and groups on the keys of kombu and Celery, so that Python and Rust share them.

mod backend;
mod connect;
mod document;
mod errors;
mod keys;
mod link;
mod opened;
mod options;
mod record;
mod result_keys;
mod results;
mod script;
mod subscribe;
mod task;
mod tls;
mod watch;

pub use backend::RedisBackend;
