//! The result backend `rpc://`: results are messages to the queue of the process that called.

pub mod backend;
pub(crate) mod replies;
pub(crate) mod reply_queue;
pub(crate) mod watch_stream;
