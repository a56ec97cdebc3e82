//! What an app tells others: events for monitors, and what it does to observers of the program.

pub mod app_observer;
pub mod backlog;
pub mod custom_event;
pub mod event_sender;
pub mod lamport_clock;
pub mod observer_thread;
pub(crate) mod sent_event;
pub mod trace_context;
