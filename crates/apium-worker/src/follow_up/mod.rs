//! What follows a run: the rules of callbacks, errbacks, chains and chords. They are pure, but for `count_parts`, which
//! the completer calls where queue and results are two stores, and `failed_chords`, where a chord has errbacks.

pub(crate) mod builder;
pub(crate) mod chord_part;
pub(crate) mod count_parts;
pub(crate) mod errback_style;
pub(crate) mod failed_chords;
pub(crate) mod failure;
pub(crate) mod handed_over;
pub(crate) mod links;
pub(crate) mod pending_errback;
pub(crate) mod recount;
