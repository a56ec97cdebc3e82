//! The phases through which a stop takes the fetching loop.

/// What the fetching loop does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// It fetches.
    Fetch,
    /// It fetches no more, and keeps the consumer open until the runs have ended.
    Hold,
    /// It closes the consumer, which requeues what is not settled, and ends.
    Close,
}
