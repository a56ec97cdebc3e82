//! What a run goes through: intake, acknowledgement, retries, results and the parts of chords.

mod acks;
mod chord_parts;
mod intake;
mod results;
mod retries;
