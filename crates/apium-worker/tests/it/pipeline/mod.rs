//! What a run goes through: intake, aborts, acknowledgement, retries, results and the parts of chords.

mod aborts;
mod acks;
mod chord_parts;
mod dead_reasons;
mod intake;
mod results;
mod retries;
