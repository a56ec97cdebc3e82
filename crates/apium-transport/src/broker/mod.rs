//! What moves messages: the broker and its queues, consumers, and how deliveries end.

pub mod broadcast;
pub mod broker;
pub mod consumer;
pub mod dead_set;
pub mod demand;
pub mod fleet;
pub mod follow_ups;
pub mod outgoing;
pub mod queue_admin;
pub mod settlement;
pub mod topic;
pub mod topology;
