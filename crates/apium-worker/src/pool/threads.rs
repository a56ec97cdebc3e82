//! The worker's own threads, on which plain functions run.
//!
//! A thread cannot be stopped from outside. When its run is over before the function returns (hard limit, cold stop),
//! the thread is *abandoned*: another one may be started in its place, and it counts as leaked until the function
//! returns. Each of them has memory, and may have a processor for ever; so at a ceiling the worker stops.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::shutdown::faults::Faults;

/// What a thread calls for one run.
type Call = Box<dyn FnOnce() + Send>;

/// Threads that are started when they are needed, up to a limit. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Threads(Arc<Shared>);

/// How many threads may leak, and who learns of it.
#[derive(Debug, Clone)]
pub(crate) struct LeakCeiling {
    pub(crate) most: usize,
    /// `None` for runs outside a worker.
    pub(crate) faults: Option<Faults>,
}

struct Shared {
    ceiling: LeakCeiling,
    state: Mutex<State>,
    wake: Condvar,
    ended: Condvar,
    runtime: Handle,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(Call, Arc<CallState>)>,
    handles: Vec<JoinHandle<()>>,
    /// Threads that have not ended and are not abandoned.
    live: usize,
    idle: usize,
    leaked: usize,
    /// The most threads, without abandoned ones.
    max: usize,
    closed: bool,
}

/// The state of a call: `WAITING`, `RUNNING`, `ABANDONED` or `DONE`.
struct CallState(AtomicU8);

const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const ABANDONED: u8 = 2;
const DONE: u8 = 3;

/// A run on one of the threads.
pub(crate) struct ThreadRun<T> {
    threads: Threads,
    state: Arc<CallState>,
    value: oneshot::Receiver<std::thread::Result<T>>,
}

impl<T> ThreadRun<T> {
    /// Waits for the run. `Err` is what it panicked with. Cancel-safe.
    pub(crate) async fn wait(&mut self) -> std::thread::Result<T> {
        match (&mut self.value).await {
            Ok(value) => value,
            Err(_) => Err(Box::new("the thread ended before the task")),
        }
    }

    /// Abandons the thread: it may be replaced, and counts as leaked until it ends.
    pub(crate) fn abandon(self) {
        self.threads.abandon(&self.state);
    }
}

impl Threads {
    /// At most `max` threads. Inside them `runtime` is the current one, so that plain functions can use its handles.
    pub(crate) fn new(max: usize, runtime: Handle, ceiling: LeakCeiling) -> Self {
        Self(Arc::new(Shared {
            ceiling,
            state: Mutex::new(State { max: max.max(1), ..State::default() }),
            wake: Condvar::new(),
            ended: Condvar::new(),
            runtime,
        }))
    }

    /// Runs `function` on a thread, as soon as one is free.
    ///
    /// # Errors
    /// The system starts no further thread.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        function: impl FnOnce() -> T + Send + 'static,
    ) -> std::io::Result<ThreadRun<T>> {
        let (sender, value) = oneshot::channel();
        let call_state = Arc::new(CallState(AtomicU8::new(WAITING)));
        let call: Call = Box::new(move || {
            // An error means that nobody waits for the value any more.
            let _ = sender.send(catch_unwind(AssertUnwindSafe(function)));
        });
        let mut state = self.lock();
        if state.idle <= state.queue.len() && state.live < state.max {
            self.start_thread(&mut state)?;
        }
        state.queue.push_back((call, call_state.clone()));
        drop(state);
        self.0.wake.notify_one();
        Ok(ThreadRun { threads: self.clone(), state: call_state, value })
    }

    /// Changes how many threads there may be, without abandoned ones. Those that are too many end when they are idle.
    pub(crate) fn set_max(&self, max: usize) {
        self.lock().max = max.max(1);
        self.0.wake.notify_all();
    }

    /// How many abandoned threads have not ended.
    pub(crate) fn leaked(&self) -> usize {
        self.lock().leaked
    }

    /// Lets the threads end as soon as they are idle. Does not wait.
    pub(crate) fn release(&self) {
        self.lock().closed = true;
        self.0.wake.notify_all();
    }

    /// Ends the threads and waits for them for up to `timeout`, but not for abandoned ones.
    pub(crate) fn close(&self, timeout: Duration) {
        let mut state = self.lock();
        state.closed = true;
        self.0.wake.notify_all();
        let waited = self.0.ended.wait_timeout_while(state, timeout, |state| state.live > 0);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let handles = std::mem::take(&mut state.handles);
        drop(state);
        for handle in handles.into_iter().filter(JoinHandle::is_finished) {
            // Panics were caught on the thread, so this has no error.
            let _ = handle.join();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of a task runs while it is locked, so the state is whole even if the lock is poisoned.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_thread(&self, state: &mut State) -> std::io::Result<()> {
        let threads = self.clone();
        let thread = std::thread::Builder::new().name("apium-task".to_owned());
        let handle = thread.spawn(move || threads.serve())?;
        state.live += 1;
        state.handles.retain(|handle| !handle.is_finished());
        state.handles.push(handle);
        Ok(())
    }

    /// The loop of each thread.
    fn serve(&self) {
        let _entered = self.0.runtime.enter();
        while let Some((call, call_state)) = self.next_call() {
            call();
            let is_abandoned = call_state.0.swap(DONE, Ordering::AcqRel) == ABANDONED;
            if is_abandoned {
                self.lock().leaked -= 1;
                return;
            }
        }
    }

    fn next_call(&self) -> Option<(Call, Arc<CallState>)> {
        let mut state = self.lock();
        loop {
            if let Some((call, call_state)) = state.queue.pop_front() {
                // `abandon` holds the same lock, so the state does not change in between.
                if call_state.0.load(Ordering::Acquire) == WAITING {
                    call_state.0.store(RUNNING, Ordering::Release);
                    return Some((call, call_state));
                }
                continue;
            }
            if state.closed || state.live > state.max {
                state.live -= 1;
                self.0.ended.notify_all();
                return None;
            }
            state.idle += 1;
            state = self.0.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// Says how many threads are lost to functions that go on after their hard time limit.
    pub(crate) fn report_leaks(&self) {
        let LeakCeiling { most, faults } = &self.0.ceiling;
        let leaked = self.leaked();
        if leaked == 0 {
            return;
        }
        let text = format!(
            "{leaked} threads still run plain functions past their hard time limit, or after they were terminated \
             (worker_max_leaked_threads is {most}); let these functions call ctx.check()? now and then"
        );
        match faults {
            Some(faults) if leaked >= *most && *most > 0 => faults.set_fatal("threads", text),
            _ => tracing::warn!(leaked, "{text}"),
        }
    }

    fn abandon(&self, call_state: &CallState) {
        let mut state = self.lock();
        match call_state.0.compare_exchange(RUNNING, ABANDONED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                state.leaked += 1;
                state.live -= 1;
                self.0.ended.notify_all();
            }
            // No thread runs it yet, and none will.
            Err(WAITING) => call_state.0.store(DONE, Ordering::Release),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn threads(max: usize) -> Threads {
        Threads::new(max, Handle::current(), LeakCeiling { most: 8, faults: None })
    }

    #[tokio::test]
    async fn a_run_returns_its_value_or_its_panic() {
        let threads = threads(2);
        assert_eq!(threads.run(|| 2 + 2).unwrap().wait().await.unwrap(), 4);
        let panic = threads.run(|| -> () { panic!("boom") }).unwrap().wait().await.unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"boom"));
        assert_eq!(threads.run(|| "next").unwrap().wait().await.unwrap(), "next");
        assert!(threads.lock().live <= 2, "the panic ended no thread, and none was started beyond the limit");
        threads.close(Duration::from_secs(5));
        assert_eq!(threads.lock().live, 0);
    }

    #[tokio::test]
    async fn an_abandoned_thread_is_replaced_and_counted_until_it_ends() {
        let threads = threads(1);
        let (go, wait) = mpsc::sync_channel::<()>(1);
        let (began, has_begun) = oneshot::channel();
        let stuck = threads.run(move || {
            began.send(()).unwrap();
            wait.recv()
        });
        has_begun.await.unwrap();
        stuck.unwrap().abandon();
        assert_eq!(threads.leaked(), 1);
        assert_eq!(threads.run(|| 1).unwrap().wait().await.unwrap(), 1, "another thread was started in its place");
        go.send(()).unwrap();
        while threads.leaked() > 0 {
            tokio::task::yield_now().await;
        }
        threads.close(Duration::from_secs(5));
    }

    #[tokio::test]
    async fn no_more_threads_than_allowed() {
        let threads = threads(2);
        let runs: Vec<_> = (0..20).map(|n| threads.run(move || n).unwrap()).collect();
        let mut sum = 0;
        for mut run in runs {
            sum += run.wait().await.unwrap();
        }
        assert_eq!(sum, 190);
        assert!(threads.lock().live <= 2);
        threads.close(Duration::from_secs(5));
    }
}
