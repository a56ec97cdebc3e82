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

#[cfg(feature = "crash-points")]
static ARMED: std::sync::OnceLock<(String, std::sync::atomic::AtomicU32)> = std::sync::OnceLock::new();

/// This process dies when it comes to the place called `name` for the `times`-th time. Armed once in its life; any name may be
/// given, also one of a place outside of this crate that calls [`reached`].
#[cfg(feature = "crash-points")]
pub fn arm(name: &str, times: u32) {
    let _ = ARMED.set((name.to_owned(), std::sync::atomic::AtomicU32::new(times.max(1))));
}

/// The process has come to a place.
#[cfg(feature = "crash-points")]
pub fn reached(name: &str) {
    if let Some((armed, left)) = ARMED.get()
        && armed == name
        && left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) == 1
    {
        // As SIGKILL does: nothing is cleaned up, nothing is flushed, the kernel closes the sockets.
        std::process::abort();
    }
}

#[cfg(not(feature = "crash-points"))]
pub(crate) const fn reached(_: &str) {}
