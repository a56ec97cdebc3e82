//! A delivery ends: acknowledgements, settlements and follow-ups.

pub(crate) mod acker;
pub(crate) mod follow_ups;
pub(crate) mod next_claim;
pub(crate) mod prepared;
pub(crate) mod recount;
pub(crate) mod settle;
