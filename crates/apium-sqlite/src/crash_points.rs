//! Named places at which a process that a fault test armed dies in the middle of what it does (feature `crash-points`). Without the
//! feature nothing of this is in the program.

/// The places: those of settling in their order, then those of every commit, and those of a chord whose queue is elsewhere.
#[cfg(feature = "crash-points")]
pub const POINTS: &[&str] = &[
    "before-settle",
    // Inside of the transaction: what is not committed is undone by whoever opens the file next.
    "delivery-settled",
    "part-counted",
    "rest-written",
    "before-commit",
    "after-commit",
    "after-flush",
    "after-settle",
    "before-part",
    "after-part",
    "before-end",
    "after-end",
];

#[cfg(feature = "crash-points")]
pub use apium_transport::crash_points::{arm, reached};

#[cfg(not(feature = "crash-points"))]
pub(crate) const fn reached(_: &str) {}
