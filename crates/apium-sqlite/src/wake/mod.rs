//! Who learns of a commit, and how.

pub(crate) mod doorbell;
pub(crate) mod ringer;
pub(crate) mod waker;
