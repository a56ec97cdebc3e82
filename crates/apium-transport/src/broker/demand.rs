//! The demand of a worker: what it wants to have next. A driver that can claim messages in the same step as something
//! else, such as a settlement, asks for it at that moment, and saves the round trip of a claim.

/// What a worker wants at this moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wanted {
    /// How many runs would begin at once: slots are free for them, and nothing that the worker has waits for a slot.
    pub begin: usize,
    /// How many of these may come with a [start mark](crate::broker::consumer::Delivery::started).
    pub marked: usize,
    /// How many deliveries the worker takes in all. The prefetch of the consumer is a limit beside this one.
    pub fetch: usize,
}

impl Wanted {
    /// So many that begin at once, with start marks, and no others.
    pub const fn beginning(count: usize) -> Self {
        Self { begin: count, marked: count, fetch: count }
    }

    /// So many that begin at once, without start marks, and `fetch` in all.
    pub const fn fetching(begin: usize, fetch: usize) -> Self {
        Self { begin, marked: 0, fetch }
    }
}

/// Says what a worker wants. What was delivered is counted once it was handed out by
/// [`Consumer::next`](crate::broker::consumer::Consumer::next); what is claimed and not handed out, the driver counts.
pub trait Demand: Send + Sync + 'static {
    /// What is wanted now. It returns at once, and calls neither the consumer nor its acker.
    fn wanted(&self) -> Wanted;
}
