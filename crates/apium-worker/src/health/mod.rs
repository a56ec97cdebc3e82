//! Whether a worker is well, and who is told.

pub(crate) mod duplicate_node;
pub(crate) mod health;
pub(crate) mod http;
pub(crate) mod probes;
pub(crate) mod ready_file;
