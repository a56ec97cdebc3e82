//! One open file in one process: the threads that write and flush, the thread that reads, and the thread that attends to
//! leases, doorbells and due times. Brokers and backends of the same file share it.

mod attendant;
mod doorbell;
mod flusher;
mod inbox;
pub(crate) mod job;
mod open;
pub(crate) mod opened;
mod reader;
pub(crate) mod shared;
pub(crate) mod transaction;
mod writer;
