//! A message that counts a part of a chord once more, as `outbox` makes it and the script notes it.

use std::sync::Arc;

use crate::consumer::state::InFlight;

/// A message that is ready to be noted as a delivery of a consumer.
#[derive(Debug)]
pub(crate) struct RecountMessage {
    /// The consumer.
    pub(crate) id: Arc<str>,
    pub(crate) number: u64,
    /// Its tag in the server.
    pub(crate) tag: String,
    /// What stands in `unacked`.
    pub(crate) entry: Vec<u8>,
    pub(crate) in_flight: InFlight,
}
