//! How cost grows with size, on one Redis server: workers, queues, queued messages, stored results, payloads, waiting
//! callers, and the slots of a worker.

pub mod crew;
pub mod depth;
pub mod load;
pub mod payloads;
pub mod queues;
pub mod results;
pub mod size;
pub mod slots;
pub mod span;
pub mod waiters;
pub mod workers;
