//! Workflows without types: signatures of every kind, how they are joined, get their ids, are sent and are run.
//! Messages carry these. The typed layer ([`signature`](crate::signature::signature),
//! [`group`](crate::signature::group)) checks which signature may follow which.

pub mod eager;
pub(crate) mod eager_results;
pub mod freeze;
pub(crate) mod header_errbacks;
pub(crate) mod merge;
pub mod node;
pub(crate) mod pipe;
pub mod plan;
pub(crate) mod replace;
pub mod send;
pub mod stamp;
pub(crate) mod steps;
pub(crate) mod wire;
