//! The side of a child process: it takes its channel, and serves the runs that its worker sends.

pub mod own_channel;
pub mod serve;
pub(crate) mod server;
