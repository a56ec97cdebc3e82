//! What a worker logs, and that nobody else writes into its log.

pub(crate) mod captured;
mod forged;
mod lines;
