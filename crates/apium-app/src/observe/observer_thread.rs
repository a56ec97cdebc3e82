//! The thread on which observers of the program are called. They may panic or never return, and nobody waits for them.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::observe::backlog::Backlog;

/// Calls observers, one after the other, on a thread of its own. What they are told waits in a [`Backlog`]; dropping
/// this lets the thread end when it has told everything.
pub struct ObserverThread<T: Send + 'static> {
    shared: Arc<Shared<T>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    backlog: Backlog<T>,
    /// Nothing more comes.
    is_closed: bool,
    /// The thread has told everything and ends.
    has_ended: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> ObserverThread<T> {
    /// Starts the thread. `tell` is called for each item; when it panics, that is logged and the next item comes.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(name: &str, tell: impl Fn(T) + Send + 'static) -> std::io::Result<Self> {
        let state = State { backlog: Backlog::default(), is_closed: false, has_ended: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || serve(&of_thread, tell))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Adds something to tell, of about so many bytes. Never waits.
    pub fn push(&self, item: T, bytes: usize) {
        let mut state = self.shared.lock();
        if !state.is_closed {
            state.backlog.push(item, bytes);
            drop(state);
            self.shared.changed.notify_one();
        }
    }

    /// Ends the thread when it has told everything, and waits for that, at most for `limit`. Returns whether it ended:
    /// one that an observer holds is left alone. Blocks this thread.
    pub fn close(&self, limit: Duration) -> bool {
        let mut state = self.shared.lock();
        state.is_closed = true;
        self.shared.changed.notify_all();
        let waited = self.shared.changed.wait_timeout_while(state, limit, |state| !state.has_ended);
        let has_ended = waited.unwrap_or_else(PoisonError::into_inner).0.has_ended;
        if has_ended && let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Panics of observers are caught in it.
            let _ = thread.join();
        }
        has_ended
    }
}

fn serve<T>(shared: &Shared<T>, tell: impl Fn(T)) {
    loop {
        let mut state = shared.lock();
        while state.backlog.is_empty() && !state.is_closed {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let dropped = state.backlog.take_dropped();
        let Some(item) = state.backlog.pop() else {
            state.has_ended = true;
            shared.changed.notify_all();
            return;
        };
        drop(state);
        if dropped > 0 {
            tracing::warn!(dropped, "observers are too slow: they were not told what is oldest");
        }
        if catch_unwind(AssertUnwindSafe(|| tell(item))).is_err() {
            tracing::error!("an observer panicked; nothing else changes by it");
        }
    }
}

impl<T: Send + 'static> Drop for ObserverThread<T> {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_all();
    }
}

impl<T: Send + 'static> fmt::Debug for ObserverThread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObserverThread").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn everything_is_told_in_order_and_panics_end_nothing() {
        let (told, telling) = sync_channel(10);
        let thread = ObserverThread::start("observers", move |item: u32| {
            assert!(item != 2, "the observer panics");
            told.send(item).unwrap();
        });
        let thread = thread.unwrap();
        (1..=3).for_each(|item| thread.push(item, 1));
        assert!(thread.close(Duration::from_secs(20)));
        thread.push(4, 1);
        assert_eq!(telling.iter().collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn one_that_hangs_is_left_alone() {
        let (go_on, wait) = sync_channel::<()>(0);
        let thread = ObserverThread::start("observers", move |(): ()| _ = wait.recv()).unwrap();
        thread.push((), 1);
        assert!(!thread.close(Duration::from_millis(1)));
        drop(go_on);
        assert!(thread.close(Duration::from_secs(20)), "it ends when the observer returns");
    }
}
