//! A delivery ends: acknowledgements, settlements, and what follows.

pub(crate) mod acker;
pub(crate) mod follow_ups;
pub(crate) mod recount;
pub(crate) mod recount_message;
pub(crate) mod settle;
