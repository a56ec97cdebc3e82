//! Named places at which a process that a fault test armed dies in the middle of what it does (feature `crash-points`). Without the
//! feature nothing of this is in the program.

/// The places, in the order in which a message passes them; behind them those of what goes on beside it.
#[cfg(feature = "crash-points")]
pub const POINTS: &[&str] = &[
    "before-wait",
    "after-wait",
    "before-claim",
    "after-claim",
    "before-begin",
    "after-begin",
    "before-settle",
    "after-settle",
    "before-put-back",
    "after-put-back",
    "after-due",
    "after-life",
    "bury-closed",
    "bury-part",
    "bury-given",
    "close-stood-down",
    "close-given-back",
];

/// The same, of a chord: where its header is counted, and around the step that sends its body.
#[cfg(feature = "crash-points")]
pub const CHORD_POINTS: &[&str] = &["chord-opened", "part-counted", "before-body", "after-body"];

#[cfg(feature = "crash-points")]
pub use apium_transport::crash_points::{arm, reached};

#[cfg(not(feature = "crash-points"))]
pub(crate) const fn reached(_: &str) {}
