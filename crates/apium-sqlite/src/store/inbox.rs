//! The way of requests to a thread: bounded, and emptied in one go, so that one transaction serves all that wait.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

/// How many requests may wait. Senders beyond it wait their turn.
const BOUND: usize = 4096;

/// A queue from many tasks to one thread.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    emptied: Condvar,
    room: Semaphore,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    /// How many of `waiting` took a place of `room`.
    placed: usize,
    asleep: bool,
    closed: bool,
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        let state = State { waiting: VecDeque::new(), placed: 0, asleep: false, closed: false };
        Self { state: Mutex::new(state), filled: Condvar::new(), emptied: Condvar::new(), room: Semaphore::new(BOUND) }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request when there is room; gives it back when the inbox is closed. Cancel-safe: it is added or it is not.
    pub(crate) async fn send(&self, request: T) -> Result<(), T> {
        match self.room.acquire().await {
            Ok(place) => place.forget(),
            Err(_) => return Err(request),
        }
        self.push(request, 1)
    }

    /// Adds a request without waiting for room: for the few that must not wait.
    pub(crate) fn send_now(&self, request: T) -> Result<(), T> {
        self.push(request, 0)
    }

    /// Adds a request; blocks this thread while `limit` of them wait.
    pub(crate) fn send_below(&self, request: T, limit: usize) -> Result<(), T> {
        let mut state = self.lock();
        while state.waiting.len() >= limit && !state.closed {
            state = self.emptied.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        self.push(request, 0)
    }

    fn push(&self, request: T, placed: usize) -> Result<(), T> {
        let mut state = self.lock();
        if state.closed {
            return Err(request);
        }
        state.waiting.push_back(request);
        state.placed += placed;
        if state.asleep {
            state.asleep = false;
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Takes all that wait, after waiting for the first. `None` when the inbox was closed and is empty.
    pub(crate) fn take(&self) -> Option<VecDeque<T>> {
        let mut state = self.lock();
        while state.waiting.is_empty() {
            if state.closed {
                return None;
            }
            state.asleep = true;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.emptied(state)
    }

    fn emptied(&self, mut state: MutexGuard<'_, State<T>>) -> Option<VecDeque<T>> {
        state.asleep = false;
        let placed = std::mem::take(&mut state.placed);
        let taken = std::mem::take(&mut state.waiting);
        drop(state);
        self.room.add_permits(placed);
        self.emptied.notify_all();
        Some(taken)
    }

    /// Held by a thread that serves or feeds this inbox: when it ends, however it ends, the inbox is closed. Where it served,
    /// nothing waits any more but after a panic; then those who sent learn that nobody answers.
    pub(crate) fn serving(&self) -> Serving<'_, T> {
        Serving(self)
    }

    /// Takes no more requests; what waits is still served.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.room.close();
        self.filled.notify_all();
        self.emptied.notify_all();
    }
}

/// Closes an inbox when it is dropped.
pub(crate) struct Serving<'i, T>(&'i Inbox<T>);

impl<T> Drop for Serving<'_, T> {
    fn drop(&mut self) {
        self.0.close();
        if std::thread::panicking() {
            let abandoned = std::mem::take(&mut self.0.lock().waiting);
            drop(abandoned);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Inbox;

    #[tokio::test]
    async fn all_that_wait_are_taken_at_once_and_in_order() {
        let inbox = Arc::new(Inbox::new());
        for n in 0..3 {
            inbox.send(n).await.unwrap();
        }
        assert_eq!(inbox.take().unwrap(), [0, 1, 2]);
        inbox.send_now(3).unwrap();
        inbox.close();
        assert_eq!(inbox.send(4).await, Err(4));
        assert_eq!(inbox.take().unwrap(), [3]);
        assert!(inbox.take().is_none());
    }

    #[tokio::test]
    async fn a_full_inbox_makes_senders_wait() {
        let inbox = Inbox::new();
        for n in 0..super::BOUND {
            inbox.send(n).await.unwrap();
        }
        let mut more = Box::pin(inbox.send(0));
        assert!(futures_util::FutureExt::now_or_never(&mut more).is_none());
        assert_eq!(inbox.take().unwrap().len(), super::BOUND);
        more.await.unwrap();
    }
}
