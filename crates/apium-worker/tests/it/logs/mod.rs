//! What a worker logs, and that nobody else writes into its log.

mod captured;
mod forged;
mod lines;
