//! Settlements with follow-ups: parts of chords, their bodies, and recounts.

pub(crate) mod follow_ups;
mod recounts;
mod shared_chords;
