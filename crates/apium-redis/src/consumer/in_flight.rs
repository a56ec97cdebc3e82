//! A message in flight, as its consumer keeps it.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;

use crate::keys::broker_keys::{Keys, QueueList};

/// A message in flight.
#[derive(Debug, Clone)]
pub(crate) struct InFlight {
    pub(crate) tag: Arc<str>,
    pub(crate) queue_list: Arc<QueueList>,
    /// The envelope as it was claimed.
    pub(crate) raw: Bytes,
    pub(crate) redelivered: bool,
    pub(crate) started: bool,
    /// Whether its run counts as a crash if this process dies.
    pub(crate) counts_crash: bool,
    /// A settlement of it was sent and got no reply: it may be done.
    pub(crate) unanswered: bool,
    /// A settlement of it is being sent.
    pub(crate) settling: bool,
}

/// The tag of a message in flight, in the server.
pub(crate) fn server_tag(id: &str, number: u64) -> String {
    // Each delivery needs two of these, so this is one allocation.
    let mut tag = String::with_capacity(id.len() + 28);
    Keys::add_tag_prefix(id, &mut tag);
    // Writing to a text does not fail.
    let _ = write!(tag, "{number}");
    tag
}
