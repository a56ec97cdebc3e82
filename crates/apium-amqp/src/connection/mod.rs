//! Connections: the thread that serves them, how one is opened, and the link that opens the next one.

pub(crate) mod connect;
pub(crate) mod link;
pub(crate) mod live_channel;
pub(crate) mod runtime;
pub(crate) mod tls;
