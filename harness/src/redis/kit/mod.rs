//! What the measurements on Redis share: the server, a stock of messages, and what the server did.

pub mod commands;
pub mod monitor;
pub mod server;
pub mod stock;
