//! Crash points: named places in the code at which a process can be told to die, for fault tests (feature
//! `crash-points`). Without the feature they are not compiled in.

/// The names: those of a settlement and its commit in the order in which it passes them, then those of a chord's part
/// that is counted by itself, because its queue is in another store.
#[cfg(feature = "crash-points")]
pub const POINTS: &[&str] = &[
    "before-settle",
    // Inside the transaction. Whoever opens the file next undoes what is not committed.
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

/// The points of a chord to which a task adds a part.
#[cfg(feature = "crash-points")]
pub const GROWTH_POINTS: &[&str] = &["before-grow", "after-grow"];

#[cfg(feature = "crash-points")]
pub use apium_transport::crash_points::{arm, reached};

#[cfg(not(feature = "crash-points"))]
pub(crate) const fn reached(_: &str) {}
