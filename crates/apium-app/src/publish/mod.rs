//! Publishing: a call becomes a message, is routed, and goes to the broker.

pub(crate) mod in_run;
pub mod layer;
pub mod policy;
pub mod prepare;
pub mod producer;
pub mod publisher;
mod reports;
pub mod router;
mod unsent;
