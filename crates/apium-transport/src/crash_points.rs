//! Crash points: named places at which a fault test kills the process in the middle of an operation (feature
//! `crash-points`). A driver lists its own. Without the feature, programs contain no trace of them.

use std::process::abort;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

static ARMED: OnceLock<(String, AtomicU32)> = OnceLock::new();

/// Makes this process die when it reaches the crash point `name` for the `times`-th time. Only the first call in a
/// process counts. A program may have crash points of its own; they call [`reached`].
pub fn arm(name: &str, times: u32) {
    let _ = ARMED.set((name.to_owned(), AtomicU32::new(times.max(1))));
}

/// Marks a crash point: the process has reached the place called `name`.
pub fn reached(name: &str) {
    if let Some((armed, left)) = ARMED.get()
        && armed == name
        && left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        // As with SIGKILL nothing is cleaned up or flushed, and the kernel closes files and sockets.
        abort();
    }
}
