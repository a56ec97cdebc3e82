//! Named points in the code at which a fault test can make the process die (feature `crash-points`). Without the
//! feature, none of this is compiled in.

/// The points that a message passes, in that order, and after them those of background work and of closing.
#[cfg(feature = "crash-points")]
pub const POINTS: &[&str] = &[
    "before-wait",
    "after-wait",
    "before-claim",
    "after-claim",
    "before-mark-started",
    "after-mark-started",
    "before-next-claim",
    "before-settle",
    "after-settle",
    "settled-claimed",
    "next-claim-added",
    "before-return-handoffs",
    "after-return-handoffs",
    "after-promote",
    "after-heartbeat",
    "reclaim-closed",
    "reclaim-batch",
    "reclaim-done",
    "close-stopped",
    "close-requeued",
];

/// The points of a chord: where it is opened and counted, and around the step that sends its body.
#[cfg(feature = "crash-points")]
pub const CHORD_POINTS: &[&str] = &["chord-opened", "part-counted", "before-body", "after-body"];

#[cfg(feature = "crash-points")]
pub use apium_transport::crash_points::{arm, reached};

#[cfg(not(feature = "crash-points"))]
pub(crate) const fn reached(_: &str) {}
