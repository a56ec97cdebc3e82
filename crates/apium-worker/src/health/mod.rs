//! The health of a worker, and the probes that show it.

pub(crate) mod duplicate_node;
pub(crate) mod health;
pub(crate) mod http;
pub(crate) mod probes;
pub(crate) mod ready_file;
