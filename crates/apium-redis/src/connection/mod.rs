//! Connections to the server, and the tasks that keep them.

pub(crate) mod background;
pub(crate) mod commands;
pub(crate) mod connect;
pub(crate) mod tls;
