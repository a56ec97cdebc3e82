//! What follows a run: the rules of callbacks, errbacks, chains and chords.

pub(crate) mod builder;
pub(crate) mod chord_part;
pub(crate) mod count_parts;
pub(crate) mod failure;
pub(crate) mod links;
pub(crate) mod pending_errback;
pub(crate) mod recount;
