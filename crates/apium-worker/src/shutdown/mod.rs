//! How a worker stops: who asks for it, how hard, and what it reports.

pub(crate) mod faults;
pub mod kind;
pub(crate) mod phase;
pub mod report;
pub(crate) mod signals;
pub(crate) mod switch;
