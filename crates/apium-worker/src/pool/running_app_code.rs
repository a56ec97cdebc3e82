//! How much code of the app runs in the slots: bodies, hooks and errbacks. A worker that stops waits for it, but not
//! for code that itself waits for a broker or a store that is away.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};

use apium_app::context::store_waits::StoreWaits;

/// Counts the code of the app that runs.
#[derive(Debug, Default)]
pub(crate) struct RunningAppCode {
    running: AtomicUsize,
    /// How many of the runs wait for a broker or a store.
    pub(crate) waits: StoreWaits,
}

/// Ends the count of one run, also when its future is dropped.
struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl RunningAppCode {
    /// Runs code of the app.
    pub(crate) async fn run<T>(&self, code: impl Future<Output = T>) -> T {
        self.running.fetch_add(1, Ordering::AcqRel);
        let _running = Running(&self.running);
        code.await
    }

    /// Whether no code of the app runs but what waits for a broker or a store.
    pub(crate) fn only_waits(&self) -> bool {
        self.running.load(Ordering::Acquire) <= self.waits.count()
    }
}
