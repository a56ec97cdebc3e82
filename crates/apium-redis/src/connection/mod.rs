//! Connections to the server, and the background tasks that use them.

pub(crate) mod answer;
pub(crate) mod background;
pub(crate) mod commands;
pub(crate) mod connect;
pub(crate) mod opened;
pub(crate) mod tls;
