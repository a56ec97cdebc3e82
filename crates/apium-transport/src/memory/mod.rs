//! The memory driver (`memory://`): broker, result backend and dead set inside one process.
//!
//! All of a namespace lies behind one lock, in `store`; a batch takes the lock once and nothing waits while it holds it.
//! What a message passes on its way: `broker` (publish) → `routing` → `queue` → `consumer` (next) → `acker`.
//! Nothing runs in the background: a waiting consumer itself sleeps until the next parked message is due.

mod acker;
mod admin;
mod backend;
mod broker;
mod chord_store;
mod chords;
mod consumer;
mod dead;
mod driver;
mod expiry;
mod graveyard;
mod later;
mod name;
mod queue;
mod results;
mod routing;
mod seat;
mod settling;
mod store;

pub use acker::MemoryAcker;
pub use backend::MemoryBackend;
pub use broker::MemoryBroker;
pub use consumer::MemoryConsumer;
pub use driver::MemoryDriver;
