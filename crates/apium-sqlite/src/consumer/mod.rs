//! A message comes out: claims, in-flight deliveries, leases, lock files and maintenance.

pub(crate) mod claim;
pub mod consumer;
pub(crate) mod lease;
pub(crate) mod lock_file;
pub(crate) mod maintenance;
pub(crate) mod state;
