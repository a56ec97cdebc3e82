//! Operations of a task's context: async code awaits them, plain functions call `wait`.

use std::future::{Future, IntoFuture};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

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

    /// Runs the operation and blocks this thread until it ends. For plain task functions.
    ///
    /// # Errors
    /// Those of the operation; [`ErrorKind::Call`] in async code, where the thread must not be blocked, and outside a
    /// worker.
    pub fn wait(self) -> Result<T, E> {
        if !BlockingScope::is_running() && Handle::try_current().is_ok() {
            return Err(Error::new(ErrorKind::Call, "wait in async code: use `.await` instead of `.wait()`").into());
        }
        match self.runtime {
            Some(runtime) => runtime.block_on(self.future),
            None => Err(Error::new(ErrorKind::Call, "wait without a runtime: no worker runs this task").into()),
        }
    }
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
    }

    #[tokio::test]
    async fn plain_task_code_waits() {
        let runtime = Handle::current();
        let plain =
            move || current::enter(Ctx::direct(), || Deferred::new(Some(runtime), async { Ok::<_, Error>(7) }).wait());
        assert_eq!(tokio::task::spawn_blocking(plain).await.unwrap().unwrap(), 7);
    }
}
