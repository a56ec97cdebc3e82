//! What the measurements on Redis share: the server and a stock of messages, the workers of both sides, and what they
//! counted.

pub mod celery;
pub mod commands;
pub mod drained;
pub mod load;
pub mod server;
pub mod stock;
pub mod tally;
pub mod worker;
