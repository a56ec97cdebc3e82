//! The health of a worker, and the probes that show it. And the name by which others know it.

pub(crate) mod duplicate_node;
pub(crate) mod health;
pub(crate) mod http;
pub(crate) mod node_name;
pub(crate) mod probes;
pub(crate) mod ready_file;
