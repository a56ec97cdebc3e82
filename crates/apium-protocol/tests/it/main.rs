//! Tests of the protocol with captures of real Celery, and with random input.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bad_messages;
mod envelope;
mod events;
mod messages;
mod random;
mod results;
mod same;
mod vectors;
