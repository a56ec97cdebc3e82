//! What keeps results: states, watches, groups and chords.

pub mod backend;
pub mod chord;
pub mod chord_results;
