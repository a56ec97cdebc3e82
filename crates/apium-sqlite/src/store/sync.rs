//! The lock and the condition variable of code whose interleavings the tests explore.
//!
//! In the tests of this crate they belong to a model if they were made inside one. Outside of a model, and in every
//! other build, they are those of the standard library.

#[cfg(test)]
pub(crate) use model::{Condvar, Mutex, MutexGuard};
#[cfg(not(test))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};

/// Runs code under the scheduler of shuttle, which tries many interleavings.
#[cfg(test)]
pub(crate) mod model {
    use std::cell::Cell;
    use std::ops::{Deref, DerefMut};
    use std::sync::{Arc, LockResult, PoisonError};

    thread_local!(static IS_MODEL: Cell<bool> = const { Cell::new(false) });

    /// Runs `model` so often, each time with another interleaving. A model in which everybody waits fails as a
    /// deadlock.
    pub(crate) fn check(iterations: usize, model: impl Fn() + Send + Sync + 'static) {
        let model = Arc::new(move || {
            IS_MODEL.set(true);
            model();
            IS_MODEL.set(false);
        });
        let random = model.clone();
        shuttle::check_random(move || random(), iterations);
        shuttle::check_pct(move || model(), iterations, 3);
    }

    #[derive(Debug)]
    pub(crate) enum Mutex<T> {
        Real(std::sync::Mutex<T>),
        Model(shuttle::sync::Mutex<T>),
    }

    pub(crate) enum MutexGuard<'m, T> {
        Real(std::sync::MutexGuard<'m, T>),
        Model(shuttle::sync::MutexGuard<'m, T>),
    }

    #[derive(Debug)]
    pub(crate) enum Condvar {
        Real(std::sync::Condvar),
        Model(shuttle::sync::Condvar),
    }

    fn map<A, B>(result: LockResult<A>, with: impl Fn(A) -> B) -> LockResult<B> {
        match result {
            Ok(guard) => Ok(with(guard)),
            Err(poisoned) => Err(PoisonError::new(with(poisoned.into_inner()))),
        }
    }

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            match IS_MODEL.get() {
                true => Self::Model(shuttle::sync::Mutex::new(value)),
                false => Self::Real(std::sync::Mutex::new(value)),
            }
        }

        pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
            match self {
                Self::Real(mutex) => map(mutex.lock(), MutexGuard::Real),
                Self::Model(mutex) => map(mutex.lock(), MutexGuard::Model),
            }
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            match self {
                Self::Real(guard) => guard,
                Self::Model(guard) => guard,
            }
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            match self {
                Self::Real(guard) => guard,
                Self::Model(guard) => guard,
            }
        }
    }

    impl Condvar {
        pub(crate) fn new() -> Self {
            match IS_MODEL.get() {
                true => Self::Model(shuttle::sync::Condvar::new()),
                false => Self::Real(std::sync::Condvar::new()),
            }
        }

        pub(crate) fn wait<'m, T>(&self, guard: MutexGuard<'m, T>) -> LockResult<MutexGuard<'m, T>> {
            match (self, guard) {
                (Self::Real(condvar), MutexGuard::Real(guard)) => map(condvar.wait(guard), MutexGuard::Real),
                (Self::Model(condvar), MutexGuard::Model(guard)) => map(condvar.wait(guard), MutexGuard::Model),
                _ => panic!("a lock and a condition variable of which one belongs to a model"),
            }
        }

        pub(crate) fn notify_one(&self) {
            match self {
                Self::Real(condvar) => condvar.notify_one(),
                Self::Model(condvar) => condvar.notify_one(),
            }
        }

        pub(crate) fn notify_all(&self) {
            match self {
                Self::Real(condvar) => condvar.notify_all(),
                Self::Model(condvar) => condvar.notify_all(),
            }
        }
    }
}
