//! The fault test of chords (P10): workers die at every named place on a chord's way, in its middle and at its last part, and in the
//! end the body ran once and got every result. `torture_canvas` runs it and prints a line for each place.

pub mod case;
pub mod celery;
pub mod crew;
pub mod ground;
pub mod places;
pub mod shape;
pub mod tally;
pub mod tasks;
pub mod trial;
