//! How consumers and watchers learn of a commit, in this process and in others.

pub(crate) mod doorbell;
pub(crate) mod mailboxes;
pub(crate) mod ringer;
pub(crate) mod waker;
