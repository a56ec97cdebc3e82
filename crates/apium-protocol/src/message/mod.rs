//! What travels: a message with its headers, properties and body, and the signatures inside it; requests of remote
//! control, and events.

pub mod body;
pub mod control;
pub mod envelope;
#[cfg(test)]
mod envelope_tests;
pub mod event;
pub mod headers;
pub mod message;
pub mod outgoing_event;
pub mod properties;
pub(crate) mod redelivered;
pub mod signature;
pub mod steps_behind;
pub mod task_id;
