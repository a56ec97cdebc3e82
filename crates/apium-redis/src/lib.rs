//! Apium's Redis driver: queues, results and groups on the keys of kombu and Celery, so that Python and Rust share them.

mod connect;
mod errors;
mod keys;
mod link;
mod options;
mod result_keys;
mod script;
mod subscribe;
mod task;
mod tls;
