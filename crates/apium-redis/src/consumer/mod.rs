//! A message comes out: claims, the messages in flight, heartbeats and maintenance.

pub(crate) mod claim;
pub mod consumer;
pub(crate) mod data_loss;
pub(crate) mod handoff;
pub(crate) mod heartbeat;
pub(crate) mod in_flight;
pub(crate) mod lost_replies;
pub(crate) mod maintenance;
pub(crate) mod queue_lists;
pub(crate) mod reclaim;
pub(crate) mod recovery;
pub(crate) mod registration;
pub(crate) mod state;
pub(crate) mod wait;
