//! Options: what an address and the transport options say.

pub(crate) mod backend;
pub(crate) mod broker;
pub(crate) mod raw;
pub(crate) mod target;
