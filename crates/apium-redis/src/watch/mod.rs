//! Watching results: one connection for any number of waiters, and nothing missed (P17).
//!
//! A watch enters the hub and subscribes first, and reads second. The messages that come until what was read is there are held
//! back; then it is known which of them are newer. After a lost connection everything watched is read again in the same way.

pub(crate) mod hub;
pub(crate) mod state;
pub(crate) mod stream;
pub(crate) mod watches;
