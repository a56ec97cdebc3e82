//! The worker's own threads: plain functions run here, never on the reactor.
//!
//! A thread cannot be stopped from outside. When a run has to be given up (hard limit, cold stop) its thread is *abandoned*:
//! the pool starts another one in its place and counts it as leaked until it ends by itself.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Bounded threads that are started when they are needed.
#[derive(Clone)]
pub(crate) struct Threads(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    ended: Condvar,
    most: usize,
    runtime: Handle,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<(Job, Arc<Life>)>,
    handles: Vec<JoinHandle<()>>,
    living: usize,
    idle: usize,
    leaked: usize,
    closed: bool,
}

/// Where a job is in its life.
struct Life(AtomicU8);

const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const ABANDONED: u8 = 2;
const OVER: u8 = 3;

/// A run on one of the pool's threads.
pub(crate) struct ThreadRun<T> {
    pool: Threads,
    life: Arc<Life>,
    value: oneshot::Receiver<std::thread::Result<T>>,
}

impl<T> ThreadRun<T> {
    /// Waits for the run; `Err` holds what it panicked with. Cancel-safe.
    pub(crate) async fn wait(&mut self) -> std::thread::Result<T> {
        match (&mut self.value).await {
            Ok(value) => value,
            Err(_) => Err(Box::new("the thread ended before the task")),
        }
    }

    /// Gives the run up: its thread is replaced, and counted as leaked until it ends.
    pub(crate) fn abandon(self) {
        self.pool.abandon(&self.life);
    }
}

impl Threads {
    /// A pool of at most `most` threads, which enter `runtime` so that plain code can use its handles.
    pub(crate) fn new(most: usize, runtime: Handle) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            wake: Condvar::new(),
            ended: Condvar::new(),
            most: most.max(1),
            runtime,
        }))
    }

    /// Runs `work` on a thread. `Err` when no thread could be started.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::io::Result<ThreadRun<T>> {
        let (sender, value) = oneshot::channel();
        let life = Arc::new(Life(AtomicU8::new(WAITING)));
        let job: Job = Box::new(move || {
            // Who waited may be gone: then nobody wants the value.
            let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
        });
        let mut state = self.lock();
        if state.idle <= state.jobs.len() && state.living < self.0.most {
            self.start_thread(&mut state)?;
        }
        state.jobs.push_back((job, life.clone()));
        drop(state);
        self.0.wake.notify_one();
        Ok(ThreadRun { pool: self.clone(), life, value })
    }

    /// How many abandoned threads have not ended.
    pub(crate) fn leaked(&self) -> usize {
        self.lock().leaked
    }

    /// Lets the threads end when they are idle, without waiting for them.
    pub(crate) fn release(&self) {
        self.lock().closed = true;
        self.0.wake.notify_all();
    }

    /// Ends the idle threads and waits up to `deadline` for the others; abandoned ones are not waited for.
    pub(crate) fn close(&self, deadline: Duration) {
        let mut state = self.lock();
        state.closed = true;
        self.0.wake.notify_all();
        let waited = self.0.ended.wait_timeout_while(state, deadline, |state| state.living > 0);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let handles = std::mem::take(&mut state.handles);
        drop(state);
        for handle in handles.into_iter().filter(JoinHandle::is_finished) {
            // Its panics were caught: nothing is left to be told.
            let _ = handle.join();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of a task runs under the lock, so a poisoned one is still whole.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_thread(&self, state: &mut State) -> std::io::Result<()> {
        let pool = self.clone();
        let thread = std::thread::Builder::new().name("apium-task".to_owned());
        let handle = thread.spawn(move || pool.serve())?;
        state.living += 1;
        state.handles.retain(|handle| !handle.is_finished());
        state.handles.push(handle);
        Ok(())
    }

    /// What each thread does.
    fn serve(&self) {
        let _entered = self.0.runtime.enter();
        while let Some((job, life)) = self.next_job() {
            job();
            let abandoned = life.0.swap(OVER, Ordering::AcqRel) == ABANDONED;
            if abandoned {
                self.lock().leaked -= 1;
                return;
            }
        }
    }

    fn next_job(&self) -> Option<(Job, Arc<Life>)> {
        let mut state = self.lock();
        loop {
            if let Some((job, life)) = state.jobs.pop_front() {
                // Under the lock, as abandoning is.
                if life.0.load(Ordering::Acquire) == WAITING {
                    life.0.store(RUNNING, Ordering::Release);
                    return Some((job, life));
                }
                continue;
            }
            if state.closed {
                state.living -= 1;
                self.0.ended.notify_all();
                return None;
            }
            state.idle += 1;
            state = self.0.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn abandon(&self, life: &Life) {
        let mut state = self.lock();
        match life.0.compare_exchange(RUNNING, ABANDONED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                state.leaked += 1;
                state.living -= 1;
                self.0.ended.notify_all();
            }
            // A job that no thread has taken yet is left out when its turn comes.
            Err(WAITING) => life.0.store(OVER, Ordering::Release),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn pool(most: usize) -> Threads {
        Threads::new(most, Handle::current())
    }

    #[tokio::test]
    async fn a_run_gives_its_value_and_a_panic_comes_back() {
        let pool = pool(2);
        assert_eq!(pool.run(|| 2 + 2).unwrap().wait().await.unwrap(), 4);
        let panic = pool.run(|| -> () { panic!("boom") }).unwrap().wait().await.unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"boom"));
        assert_eq!(pool.run(|| "again").unwrap().wait().await.unwrap(), "again");
        assert!(pool.lock().living <= 2, "the panic took no thread with it, and none was started beyond the bound");
        pool.close(Duration::from_secs(5));
        assert_eq!(pool.lock().living, 0);
    }

    #[tokio::test]
    async fn an_abandoned_thread_is_replaced_and_counted_until_it_ends() {
        let pool = pool(1);
        let (go, wait) = mpsc::sync_channel::<()>(1);
        let (began, has_begun) = oneshot::channel();
        let stuck = pool.run(move || {
            began.send(()).unwrap();
            wait.recv()
        });
        has_begun.await.unwrap();
        stuck.unwrap().abandon();
        assert_eq!(pool.leaked(), 1);
        assert_eq!(pool.run(|| 1).unwrap().wait().await.unwrap(), 1, "another thread took its place");
        go.send(()).unwrap();
        while pool.leaked() > 0 {
            tokio::task::yield_now().await;
        }
        pool.close(Duration::from_secs(5));
    }

    #[tokio::test]
    async fn no_more_threads_than_allowed() {
        let pool = pool(2);
        let runs: Vec<_> = (0..20).map(|n| pool.run(move || n).unwrap()).collect();
        let mut sum = 0;
        for mut run in runs {
            sum += run.wait().await.unwrap();
        }
        assert_eq!(sum, 190);
        assert!(pool.lock().living <= 2);
        pool.close(Duration::from_secs(5));
    }
}
