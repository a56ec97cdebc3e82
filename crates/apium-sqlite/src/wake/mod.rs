//! Who learns of a commit, and how.

pub(crate) mod bell;
pub(crate) mod signals;
