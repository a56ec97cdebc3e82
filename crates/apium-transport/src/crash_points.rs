//! Named places at which a process that a fault test armed dies in the middle of what it does (feature `crash-points`). Each driver
//! that has such places lists them. Without the feature nothing of this is in the program.

use std::process::abort;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

static ARMED: OnceLock<(String, AtomicU32)> = OnceLock::new();

/// This process dies when it comes to the place called `name` for the `times`-th time. Armed once in its life; any name may be
/// given, also one of a program's own places that call [`reached`].
pub fn arm(name: &str, times: u32) {
    let _ = ARMED.set((name.to_owned(), AtomicU32::new(times.max(1))));
}

/// The process has come to a place.
pub fn reached(name: &str) {
    if let Some((armed, left)) = ARMED.get()
        && armed == name
        && left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        // As SIGKILL does: nothing is cleaned up, nothing is flushed, the kernel closes files and sockets.
        abort();
    }
}
