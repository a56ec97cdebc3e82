//! Expiry times.

use std::time::Duration;

use jiff::Timestamp;

/// The instant `span` after `now`, or the last possible one.
pub(crate) fn after(now: Timestamp, span: Duration) -> Timestamp {
    now.saturating_add(span).unwrap_or(Timestamp::MAX)
}

/// Whether something that expires at `expires` (`None`: never) is still there.
pub(crate) fn is_alive(expires: Option<Timestamp>, now: Timestamp) -> bool {
    expires.is_none_or(|expires| now < expires)
}
