//! Consuming: the open channel, what is in flight over all channels of a consumer, the marks of its runs by
//! which crashes are counted, and the consumer itself.

pub(crate) mod consumer;
pub(crate) mod crash_records;
pub(crate) mod late_settlements;
pub(crate) mod mark_ledger;
pub(crate) mod open_channel;
pub(crate) mod run_marks;
pub(crate) mod state;
pub(crate) mod whole_queue;
