//! Named points in the code at which a fault test can make the process die (feature `crash-points`). Without the
//! feature, none of this is compiled in.

/// The points that a message passes, in that order, and after them those of closing.
#[cfg(feature = "crash-points")]
pub const POINTS: &[&str] = &[
    "handed-out",
    "before-mark-started",
    "after-mark-started",
    "before-sent-on",
    "after-sent-on",
    "before-settle",
    "after-settle",
    "close-marks",
    "close-requeued",
];

#[cfg(feature = "crash-points")]
pub use apium_transport::crash_points::{arm, reached};

#[cfg(not(feature = "crash-points"))]
pub(crate) const fn reached(_: &str) {}
