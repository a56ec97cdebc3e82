//! What an address and the transport options say.

pub(crate) mod backend;
pub(crate) mod broker;
pub(crate) mod given;
pub(crate) mod target;
