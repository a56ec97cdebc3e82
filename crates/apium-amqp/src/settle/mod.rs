//! Settling: acks and rejects, and the messages that are sent on because of them.

pub(crate) mod acker;
pub(crate) mod dead_letter;
pub(crate) mod sent_on;
