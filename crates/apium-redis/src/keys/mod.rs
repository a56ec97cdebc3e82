//! The names of keys, and the scores of sorted sets.

pub(crate) mod broker_keys;
pub(crate) mod result_keys;
pub(crate) mod score;
