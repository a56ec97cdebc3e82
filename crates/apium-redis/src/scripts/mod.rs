//! Atomic steps: the scripts that run inside the server, and their arguments.

pub(crate) mod chord_args;
pub(crate) mod operation;
pub(crate) mod result_args;
pub(crate) mod script;
