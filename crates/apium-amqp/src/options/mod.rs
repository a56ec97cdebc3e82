//! Options: what an address and the transport options say.

pub(crate) mod backend;
pub(crate) mod broker;
pub(crate) mod target;
pub(crate) mod without_meaning;
