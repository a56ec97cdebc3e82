//! The signal by which a worker tells a running task that a time limit has passed.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use tokio::sync::Notify;

/// Which time limits of a run have passed. Cheap to clone; all clones are the signal of the same run.
#[derive(Debug, Clone, Default)]
pub struct LimitSignal(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    level: AtomicU8,
    observed: AtomicBool,
    changed: Notify,
}

const SOFT: u8 = 1;
const HARD: u8 = 2;

impl LimitSignal {
    /// A signal for a run with limits.
    pub fn new() -> Self {
        let (level, observed) = (AtomicU8::new(0), AtomicBool::new(false));
        Self(Some(Arc::new(Shared { level, observed, changed: Notify::new() })))
    }

    /// A signal that is never raised, for a run without limits. It allocates nothing.
    pub fn never() -> Self {
        Self(None)
    }

    /// Says that the soft limit has passed. The worker calls it.
    pub fn raise_soft(&self) {
        self.raise(SOFT);
    }

    /// Says that the hard limit has passed and the worker has given up the run. The worker calls it. A plain function
    /// that still runs gets it from [`Ctx::check`](crate::context::context::Ctx::check).
    pub fn raise_hard(&self) {
        self.raise(HARD);
    }

    fn raise(&self, level: u8) {
        if let Some(shared) = &self.0 {
            shared.level.fetch_max(level, Ordering::AcqRel);
            shared.changed.notify_waiters();
        }
    }

    /// Whether the task has read the signal or waits for it. It handles the soft limit itself then; else the worker
    /// stops an `async fn` at its soft limit.
    pub fn is_observed(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.observed.load(Ordering::Acquire))
    }

    fn observe(&self) {
        if let Some(shared) = &self.0 {
            shared.observed.store(true, Ordering::Release);
        }
    }

    fn level(&self) -> u8 {
        self.0.as_ref().map_or(0, |shared| shared.level.load(Ordering::Acquire))
    }

    /// Whether the soft limit has passed.
    pub fn reached(&self) -> bool {
        self.observe();
        self.level() >= SOFT
    }

    /// Whether the hard limit has passed.
    pub fn given_up(&self) -> bool {
        self.observe();
        self.level() >= HARD
    }

    /// Waits until the soft limit has passed, or for ever where there is none. Cancel-safe.
    ///
    /// ```
    /// # use apium_app::{context::context::Ctx, task_error::TaskResult};
    /// # async fn fetch() -> std::io::Result<String> { Ok("page".into()) }
    /// async fn page(ctx: &Ctx) -> TaskResult<String> {
    ///     tokio::select! {
    ///         page = fetch() => Ok(page?),
    ///         () = ctx.soft_limit().wait() => Err(ctx.retry().into()),
    ///     }
    /// }
    /// ```
    pub fn wait(&self) -> impl Future<Output = ()> + Send + 'static {
        self.observe();
        let shared = self.0.clone();
        async move {
            let Some(shared) = shared else { return std::future::pending().await };
            loop {
                let changed = shared.changed.notified();
                if shared.level.load(Ordering::Acquire) >= SOFT {
                    return;
                }
                changed.await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LimitSignal;

    #[tokio::test]
    async fn a_waiting_task_is_woken_by_the_soft_limit() {
        let signal = LimitSignal::new();
        let waiting = signal.wait();
        let raising = async { signal.raise_soft() };
        tokio::join!(waiting, raising);
        assert!(signal.reached() && !signal.given_up());
    }

    #[tokio::test]
    async fn a_raised_signal_is_seen_by_a_task_that_waits_afterwards() {
        let signal = LimitSignal::new();
        signal.raise_hard();
        signal.wait().await;
        assert!(signal.reached() && signal.given_up());
        signal.raise_soft();
        assert!(signal.given_up(), "the level never decreases");
    }

    #[test]
    fn it_is_known_whether_the_task_reads_it() {
        let signal = LimitSignal::new();
        signal.raise_soft();
        assert!(!signal.is_observed(), "raising is not reading");
        drop(signal.wait());
        assert!(signal.is_observed());
        assert!(!LimitSignal::never().is_observed());
    }

    #[test]
    fn the_signal_of_a_run_without_limits_is_never_raised() {
        let signal = LimitSignal::never();
        signal.raise_soft();
        assert!(!signal.reached());
    }
}
