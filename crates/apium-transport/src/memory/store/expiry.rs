//! Until when what is stored lives.

use std::time::Duration;

use jiff::Timestamp;

/// The instant `span` after `now`; the last there is, should that be later.
pub(crate) fn after(now: Timestamp, span: Duration) -> Timestamp {
    now.saturating_add(span).unwrap_or(Timestamp::MAX)
}

/// Whether what lives until `expires` (`None`: for ever) is alive.
pub(crate) fn is_alive(expires: Option<Timestamp>, now: Timestamp) -> bool {
    expires.is_none_or(|expires| now < expires)
}
