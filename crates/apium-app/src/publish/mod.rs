//! A call becomes a message.

pub mod layer;
pub mod prepare;
pub mod producer;
pub mod publisher;
pub mod router;
pub(crate) mod wire_body;
