//! Settlements with follow-ups: parts of chords, their bodies, and recounts. Settlements that are refused or get no
//! sense for a reply.

pub(crate) mod follow_ups;
mod odd_replies;
mod recounts;
mod refused;
mod shared_chords;
