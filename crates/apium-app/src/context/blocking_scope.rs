//! Whether this thread runs a plain task function, which may block the thread.

use std::cell::Cell;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Until it is dropped, this thread runs a plain task function.
pub(crate) struct BlockingScope;

impl BlockingScope {
    pub(crate) fn enter() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self
    }

    /// Whether a plain task function runs on this thread.
    pub(crate) fn is_running() -> bool {
        DEPTH.get() > 0
    }
}

impl Drop for BlockingScope {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}
