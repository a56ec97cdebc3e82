//! The runs of a worker: what is in which slot, what cancels it, how many slots there are, which tasks are revoked, and
//! which limits were set while the worker runs.

pub(crate) mod cancel;
pub(crate) mod registry;
pub(crate) mod revoke_reason;
pub(crate) mod revoked;
pub(crate) mod slot;
pub(crate) mod task_limits;
pub(crate) mod terminate_signal;
