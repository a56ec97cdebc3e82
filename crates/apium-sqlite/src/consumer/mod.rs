//! A message comes out: claims, in-flight deliveries, leases, lock files and maintenance.

pub(crate) mod claim;
pub mod consumer;
pub(crate) mod lock_file;
pub(crate) mod mailbox_leases;
pub(crate) mod maintenance;
pub(crate) mod observed_leases;
pub(crate) mod reclaim;
pub(crate) mod registration;
pub(crate) mod state;
