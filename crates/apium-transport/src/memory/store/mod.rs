//! What is behind the one lock of a namespace.

pub(crate) mod after_unlock;
pub(crate) mod chords;
pub(crate) mod consumer_state;
pub(crate) mod dead_letters;
pub(crate) mod expiry;
pub(crate) mod mailboxes;
pub(crate) mod namespace;
pub(crate) mod queue;
pub(crate) mod records;
pub(crate) mod results;
pub(crate) mod routing;
pub(crate) mod settle;
