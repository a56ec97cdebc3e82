//! Waiting for a message while there is none: a blocking move for one list, and news of changes for all others.

pub(crate) mod blocking_wait;
pub(crate) mod rivals;
pub(crate) mod tracking;
