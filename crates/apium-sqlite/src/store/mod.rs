//! The store behind one open file: its tables, the requests to its threads, and the threads that write and flush.
//! Brokers and backends of the same file share it.

pub(crate) mod busy;
pub(crate) mod condition;
pub(crate) mod flusher;
pub(crate) mod inbox;
pub(crate) mod open;
pub(crate) mod request;
pub(crate) mod result_row;
pub(crate) mod schema;
pub(crate) mod store;
mod sync;
pub(crate) mod topology;
pub(crate) mod transaction;
pub(crate) mod writer;
