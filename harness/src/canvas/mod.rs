//! The fault test of chords (`chord-once`): workers are killed at every crash point that a chord passes, in its middle
//! and at its last part. The body must run once, with every result. `torture_canvas` runs it and prints a line for each
//! case.

pub mod case;
pub mod cases;
pub mod celery;
pub mod crew;
pub mod fresh_stores;
pub mod shape;
pub mod tally;
pub mod tasks;
pub mod trial;
