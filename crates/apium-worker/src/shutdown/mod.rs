//! How a worker stops.

pub(crate) mod cold;
pub mod shutdown;
