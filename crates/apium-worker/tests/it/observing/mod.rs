//! What a worker tells others: events, heartbeats, observers of the program, and metrics.

mod events;
mod heartbeats;
mod metrics;
mod monitor;
mod observers;
mod tasks;
mod traces;
