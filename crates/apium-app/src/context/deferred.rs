//! Operations of a task's context: async code awaits them, plain functions call `wait`.

use std::future::{Future, IntoFuture};
use std::task::{Context, Waker};

use futures_util::future::BoxFuture;
use tokio::runtime::{Builder, Handle};
use tokio::task::coop;

use crate::context::blocking_scope::BlockingScope;
use crate::error::{Error, ErrorKind, Result};

/// An operation that starts when it is awaited. A plain task function calls [`wait`](Self::wait) instead.
#[must_use = "nothing happens until it is awaited, or until `wait` is called"]
pub struct Deferred<T, E = Error> {
    future: BoxFuture<'static, Result<T, E>>,
    runtime: Option<Handle>,
}

impl<T, E: From<Error>> Deferred<T, E> {
    pub(crate) fn new(runtime: Option<Handle>, future: impl Future<Output = Result<T, E>> + Send + 'static) -> Self {
        Self { future: Box::pin(future), runtime }
    }

    /// Runs the operation and blocks this thread until it ends. For plain task functions, in a worker, in
    /// `spawn_blocking`, and in a test that calls the function.
    ///
    /// # Errors
    /// Those of the operation; [`ErrorKind::Call`] in async code, where the thread must not be blocked.
    pub fn wait(self) -> Result<T, E> {
        if !BlockingScope::is_running() && polls_a_future() {
            return Err(Error::new(ErrorKind::Call, "wait in async code: use `.await` instead of `.wait()`").into());
        }
        if let Some(runtime) = self.runtime.or_else(|| Handle::try_current().ok()) {
            return runtime.block_on(self.future);
        }
        let own = Builder::new_current_thread().enable_all().build();
        let own = own.map_err(|error| Error::new(ErrorKind::Call, "start a runtime to wait in").with_source(error))?;
        own.block_on(self.future)
    }
}

/// Whether tokio polls a future on this thread now, so that the thread must not be blocked. A thread of
/// `spawn_blocking` belongs to a runtime and polls none.
fn polls_a_future() -> bool {
    // Tokio gives a future 128 operations each time it polls it. Other code may do any number.
    const MORE: usize = 200;
    let mut context = Context::from_waker(Waker::noop());
    let mut taken = Vec::new();
    let is_limited = (0..MORE).any(|_| match coop::poll_proceed(&mut context) {
        std::task::Poll::Ready(one) => {
            taken.push(one);
            false
        }
        std::task::Poll::Pending => true,
    });
    // Each gives back what was there before it, so the first one is given back last.
    while taken.pop().is_some() {}
    is_limited
}

impl<T, E> IntoFuture for Deferred<T, E> {
    type Output = Result<T, E>;
    type IntoFuture = BoxFuture<'static, Result<T, E>>;

    fn into_future(self) -> Self::IntoFuture {
        self.future
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Handle;

    use super::Deferred;
    use crate::context::context::Ctx;
    use crate::context::current;
    use crate::error::Error;

    #[tokio::test]
    async fn async_code_awaits_and_may_not_wait() {
        let deferred = || Deferred::new(Handle::try_current().ok(), async { Ok::<_, Error>(7) });
        assert_eq!(deferred().await.unwrap(), 7);
        let error = deferred().wait().unwrap_err().to_string();
        assert!(error.contains(".await"), "{error}");
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            for _ in 0..3 {
                assert!(deferred().wait().is_err());
            }
            // The budget of this poll is as it was.
            assert!(tokio::task::coop::has_budget_remaining());
        });
        tasks.join_next().await.unwrap().unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn code_that_may_block_waits() {
        let deferred = |runtime| move || Deferred::new(runtime, async { Ok::<_, Error>(7) }).wait().unwrap();
        assert_eq!(tokio::task::spawn_blocking(deferred(Some(Handle::current()))).await.unwrap(), 7);
        assert_eq!(tokio::task::spawn_blocking(deferred(None)).await.unwrap(), 7);
    }

    #[test]
    fn plain_code_without_a_runtime_waits_too() {
        let slow = async {
            tokio::time::timeout(std::time::Duration::from_secs(5), tokio::task::yield_now()).await.unwrap();
            Ok::<_, Error>(7)
        };
        assert_eq!(Deferred::new(None, slow).wait().unwrap(), 7);
    }

    #[tokio::test]
    async fn plain_task_code_waits() {
        let runtime = Handle::current();
        let plain =
            move || current::enter(Ctx::direct(), || Deferred::new(Some(runtime), async { Ok::<_, Error>(7) }).wait());
        assert_eq!(tokio::task::spawn_blocking(plain).await.unwrap().unwrap(), 7);
    }
}
