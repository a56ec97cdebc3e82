//! The memory driver (`memory://`): broker, result backend and dead set inside one process.
//!
//! A namespace has one lock, in `store`. A batch takes it once, and nothing waits while it holds it. The way of a
//! message: `broker` (publish) → `routing` → `queue` → `consumer` (next) → `acker`. Nothing runs in the background: a
//! consumer that waits also waits for the time at which the next delayed message is due.

pub(crate) mod acker;
pub(crate) mod admin;
pub(crate) mod backend;
pub(crate) mod broadcast;
pub(crate) mod broker;
pub(crate) mod chord_store;
pub(crate) mod consumer;
pub(crate) mod dead_set;
pub(crate) mod driver;
pub(crate) mod fleet;
pub(crate) mod handle;
pub(crate) mod store;

pub use crate::memory::acker::MemoryAcker;
pub use crate::memory::backend::MemoryBackend;
pub use crate::memory::broker::MemoryBroker;
pub use crate::memory::consumer::MemoryConsumer;
pub use crate::memory::driver::MemoryDriver;
