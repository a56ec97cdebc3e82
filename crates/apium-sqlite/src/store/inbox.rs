//! A bounded queue of requests to a thread. The thread takes all waiting requests at once, so that they share one
//! transaction.

use std::collections::VecDeque;
use std::sync::PoisonError;

use tokio::sync::Semaphore;

use crate::store::sync::{Condvar, Mutex, MutexGuard};

/// How many requests may wait. When there are so many, senders wait.
const BOUND: usize = 4096;

/// A queue from many tasks to one thread.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    emptied: Condvar,
    free: Semaphore,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    /// How many permits of `free` the waiting requests have.
    permits: usize,
    asleep: bool,
    closed: bool,
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        Self::bounded(BOUND)
    }

    fn bounded(bound: usize) -> Self {
        let state = State { waiting: VecDeque::new(), permits: 0, asleep: false, closed: false };
        Self { state: Mutex::new(state), filled: Condvar::new(), emptied: Condvar::new(), free: Semaphore::new(bound) }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request, after waiting while the inbox is full. Returns the request when the inbox is closed.
    /// Cancel-safe: a dropped call adds nothing.
    pub(crate) async fn send(&self, request: T) -> Result<(), T> {
        match self.free.acquire().await {
            Ok(permit) => permit.forget(),
            Err(_) => return Err(request),
        }
        self.push(request, 1)
    }

    /// Adds a request although the inbox may be full, for callers that must not wait.
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

    fn push(&self, request: T, permits: usize) -> Result<(), T> {
        let mut state = self.lock();
        if state.closed {
            return Err(request);
        }
        state.waiting.push_back(request);
        state.permits += permits;
        if state.asleep {
            state.asleep = false;
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Whether no request waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    /// Removes and returns all requests that wait; perhaps none.
    pub(crate) fn take_waiting(&self) -> VecDeque<T> {
        self.emptied(self.lock()).unwrap_or_default()
    }

    /// Removes and returns all requests, after waiting for the first one. `None` when the inbox was closed and is
    /// empty.
    pub(crate) fn take_all(&self) -> Option<VecDeque<T>> {
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
        let permits = std::mem::take(&mut state.permits);
        let requests = std::mem::take(&mut state.waiting);
        drop(state);
        self.free.add_permits(permits);
        self.emptied.notify_all();
        Some(requests)
    }

    /// A guard for the thread that serves or feeds this inbox. When that thread ends, in whatever way, the inbox is
    /// closed. After a panic the waiting requests are dropped, so that their senders get an error instead of waiting
    /// for ever.
    pub(crate) fn close_on_drop(&self) -> CloseOnDrop<'_, T> {
        CloseOnDrop(self)
    }

    /// Closes the inbox: it accepts no more requests, but waiting ones are still served.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.free.close();
        self.filled.notify_all();
        self.emptied.notify_all();
    }
}

/// Closes an inbox when it is dropped.
pub(crate) struct CloseOnDrop<'i, T>(&'i Inbox<T>);

impl<T> Drop for CloseOnDrop<'_, T> {
    fn drop(&mut self) {
        self.0.close();
        if std::thread::panicking() {
            let waiting = std::mem::take(&mut self.0.lock().waiting);
            drop(waiting);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Inbox;
    use crate::store::sync::model;

    #[tokio::test]
    async fn all_that_wait_are_taken_at_once_and_in_order() {
        let inbox = Arc::new(Inbox::new());
        for n in 0..3 {
            inbox.send(n).await.unwrap();
        }
        assert_eq!(inbox.take_all().unwrap(), [0, 1, 2]);
        inbox.send_now(3).unwrap();
        inbox.close();
        assert_eq!(inbox.send(4).await, Err(4));
        assert_eq!(inbox.take_all().unwrap(), [3]);
        assert!(inbox.take_all().is_none());
    }

    #[tokio::test]
    async fn a_full_inbox_makes_senders_wait() {
        let inbox = Inbox::new();
        for n in 0..super::BOUND {
            inbox.send(n).await.unwrap();
        }
        let mut more = Box::pin(inbox.send(0));
        assert!(futures_util::FutureExt::now_or_never(&mut more).is_none());
        assert_eq!(inbox.take_all().unwrap().len(), super::BOUND);
        more.await.unwrap();
    }

    /// Whatever the order in which they go on, each request is taken once and nobody waits for ever.
    #[test]
    fn every_request_is_taken_once_in_any_interleaving() {
        model::check(2_000, || {
            let inbox = Arc::new(Inbox::bounded(1));
            let taker = {
                let inbox = inbox.clone();
                shuttle::thread::spawn(move || {
                    let mut taken: Vec<u32> = Vec::new();
                    while let Some(requests) = inbox.take_all() {
                        taken.extend(requests);
                    }
                    taken
                })
            };
            let senders: Vec<_> = [0, 10]
                .map(|first| {
                    let inbox = inbox.clone();
                    shuttle::thread::spawn(move || {
                        for n in first..first + 3 {
                            shuttle::future::block_on(inbox.send(n)).unwrap();
                        }
                    })
                })
                .into();
            let feeder = {
                let inbox = inbox.clone();
                shuttle::thread::spawn(move || {
                    inbox.send_below(20, 1).unwrap();
                    inbox.send_now(21).unwrap();
                })
            };
            senders.into_iter().chain([feeder]).for_each(|thread| thread.join().unwrap());
            inbox.close();
            let mut taken = taker.join().unwrap();
            let of = |first: u32| taken.iter().copied().filter(|n| *n / 10 == first).collect::<Vec<_>>();
            assert_eq!((of(0), of(1), of(2)), (vec![0, 1, 2], vec![10, 11, 12], vec![20, 21]), "in each one's order");
            taken.sort_unstable();
            assert_eq!(taken, [0, 1, 2, 10, 11, 12, 20, 21]);
        });
    }

    /// Closing frees everybody who waits.
    #[test]
    fn a_closed_inbox_lets_nobody_wait_in_any_interleaving() {
        model::check(2_000, || {
            let inbox = Arc::new(Inbox::bounded(1));
            let taker = {
                let inbox = inbox.clone();
                shuttle::thread::spawn(move || while inbox.take_all().is_some() {})
            };
            let sender = {
                let inbox = inbox.clone();
                shuttle::thread::spawn(move || {
                    for n in 0..3 {
                        if shuttle::future::block_on(inbox.send(n)).is_err() {
                            return;
                        }
                    }
                })
            };
            let feeder = {
                let inbox = inbox.clone();
                shuttle::thread::spawn(move || inbox.send_below(3, 1).is_ok())
            };
            inbox.close();
            [taker, sender].into_iter().for_each(|thread| thread.join().unwrap());
            feeder.join().unwrap();
        });
    }
}
