//! The lock and the wake-up of code whose interleavings the tests explore.
//!
//! In the tests of this crate both are points at which a model may go on with another thread or task; outside a model,
//! and in every other build, they are what the standard library and tokio offer.

#[cfg(not(test))]
pub(crate) use std::sync::{Mutex, MutexGuard};
#[cfg(not(test))]
pub(crate) use tokio::sync::Notify;

#[cfg(test)]
pub(crate) use model::{Mutex, MutexGuard, Notify};

/// Runs code under the scheduler of shuttle, which tries many interleavings. All threads and tasks of a model run in
/// turn on one system thread, so a lock is never contended: what matters is which of them goes on before each lock and
/// each wake-up.
#[cfg(test)]
pub(crate) mod model {
    use std::cell::Cell;
    pub(crate) use std::sync::MutexGuard;
    use std::sync::PoisonError;

    use shuttle::scheduler::{PctScheduler, RandomScheduler};
    use tokio::sync::futures::Notified;

    thread_local!(static IS_MODEL: Cell<bool> = const { Cell::new(false) });

    /// Runs `model` so often, each time with another interleaving. A model in which everybody waits fails as a
    /// deadlock.
    pub(crate) fn check(iterations: usize, model: impl Fn() + Send + Sync + 'static) {
        let model = std::sync::Arc::new(move || {
            IS_MODEL.set(true);
            model();
            IS_MODEL.set(false);
        });
        let mut config = shuttle::Config::new();
        // The default is too small for a model with whole services.
        config.stack_size = 1 << 20;
        let random = shuttle::Runner::new(RandomScheduler::new(iterations), config.clone());
        let in_random_order = model.clone();
        random.run(move || in_random_order());
        shuttle::Runner::new(PctScheduler::new(3, iterations), config).run(move || model());
    }

    /// Another thread or task of the model may go on here.
    fn point() {
        if IS_MODEL.get() {
            shuttle::sync::atomic::AtomicBool::new(false).load(std::sync::atomic::Ordering::SeqCst);
        }
    }

    #[derive(Default)]
    pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(std::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> Result<MutexGuard<'_, T>, PoisonError<MutexGuard<'_, T>>> {
            point();
            self.0.lock()
        }
    }

    #[derive(Default)]
    pub(crate) struct Notify(tokio::sync::Notify);

    impl Notify {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn notify_one(&self) {
            point();
            self.0.notify_one();
        }

        pub(crate) fn notify_waiters(&self) {
            point();
            self.0.notify_waiters();
        }

        pub(crate) fn notified(&self) -> Notified<'_> {
            point();
            self.0.notified()
        }
    }
}
