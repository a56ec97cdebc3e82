//! How a task asks for another run of itself (Celery: `self.retry(…)`).

use std::fmt;
use std::time::Duration;

use apium_protocol::json::text::Json;
use jiff::Timestamp;
use serde::Serialize;

use crate::context::context::Ctx;
use crate::context::deferred::Deferred;
use crate::context::request::RetryRequest;
use crate::error::{Error, ErrorKind};
use crate::failure::Failure;
use crate::retry::policy::{RetryPlan, RetryWish, decide};
use crate::task::arguments::ArgumentWriter;
use crate::task::into_arguments::IntoArguments;
use crate::task_error::{TaskError, TaskErrorKind, TaskResult};

/// A wish to run again, made by [`Ctx::retry`]. It keeps the id, the queue and whatever is not changed here. Return it
/// as the task's error: `return Err(ctx.retry().countdown(wait).into())`.
#[must_use = "return it as the task's error, or send it"]
pub struct RetryBuilder {
    ctx: Ctx,
    retry: RetryRequest,
    failed: Option<TaskError>,
}

impl Ctx {
    /// Asks for another run; return it as the error, or send it.
    pub fn retry(&self) -> RetryBuilder {
        RetryBuilder::new(self.clone())
    }
}

impl RetryBuilder {
    fn new(ctx: Ctx) -> Self {
        Self { ctx, retry: RetryRequest::default(), failed: None }
    }

    /// How long to wait; zero is at once. Default: the task's `default_retry_delay` (1800 s).
    pub fn countdown(mut self, wait: Duration) -> Self {
        self.retry.countdown = Some(wait);
        self
    }

    /// Not before this instant; it beats a countdown.
    pub fn eta(mut self, at: Timestamp) -> Self {
        self.retry.eta = Some(at);
        self
    }

    /// Waits as `retry_backoff` says: factor · 2^retries seconds up to `retry_backoff_max`, with jitter unless the task
    /// turned it off. The factor is 1 where the task names none.
    pub fn backoff(mut self) -> Self {
        self.retry.backoff = true;
        self
    }

    /// How many retries there may be, instead of the task's `max_retries`; counted over all runs.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.retry.max_retries = Some(Some(retries));
        self
    }

    /// Without limit.
    pub fn no_limit(mut self) -> Self {
        self.retry.max_retries = Some(None);
        self
    }

    /// The error behind it (Celery: `exc=`): stored with RETRY, and as the FAILURE when no retry is left.
    pub fn cause(mut self, error: impl Into<TaskError>) -> Self {
        self.retry.cause = match error.into().into_kind() {
            TaskErrorKind::Failure(failure) => Some(failure),
            TaskErrorKind::Retry(retry) => retry.cause,
            TaskErrorKind::Reject { reason, .. } => Some(Failure::message(reason)),
            TaskErrorKind::Ignore | TaskErrorKind::Replace(_) => None,
        };
        self
    }

    /// Other positional arguments.
    pub fn args(mut self, args: impl IntoArguments) -> Self {
        match args.write(ArgumentWriter::new(0)).finish() {
            Ok(arguments) => self.retry.args = Some(arguments.args),
            Err(error) => self.failed = Some(error.into()),
        }
        self
    }

    /// One keyword argument for the next run; the first one replaces those of the request.
    pub fn kwarg(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        if let Some(json) = self.encoded(&value) {
            self.retry.kwargs.get_or_insert_default().push((name.into(), json));
        }
        self
    }

    /// A header of the caller's own, added to those of the request.
    pub fn header(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        if let Some(json) = self.encoded(&value) {
            self.retry.headers.insert(name.into(), json);
        }
        self
    }

    /// Sends the next run now and lets this one go on (Celery: `throw=False`). What this run then returns is stored as
    /// SUCCESS, and SUCCESS is final: the next run cannot change it. In a plain function call `wait()` on what it
    /// returns.
    ///
    /// # Errors
    /// The failure of the task once no retry is left: its cause, or `MaxRetriesExceededError`. A rejection of the
    /// message when the broker cannot be reached, as Celery does.
    pub fn send(self) -> Deferred<(), TaskError> {
        let ctx = self.ctx.clone();
        ctx.deferred(async move {
            let (ctx, retry) = self.decided()?;
            let publisher = ctx.needed_publisher()?;
            let request = ctx.request();
            let (Some(id), Some(task)) = (request.id(), ctx.task()) else {
                return Err(TaskError::failure("the task cannot be run again: it was called directly"));
            };
            let now = publisher.clock().now();
            match decide(request, task, RetryWish::Asked(&retry), now, &mut fastrand::Rng::new()) {
                RetryPlan::Exceeded(failure) | RetryPlan::NotWanted(failure) => Err(failure.into()),
                RetryPlan::Retry(next) => {
                    let message = publisher.retry_message(request, &next)?;
                    let rejected = |error| TaskError::reject_because(format!("could not {error:#}"), false);
                    publisher.publish(vec![message]).await.map_err(rejected)?;
                    ctx.add_child(id.clone());
                    Ok(())
                }
            }
        })
    }

    fn encoded(&mut self, value: &impl Serialize) -> Option<Json> {
        match Json::from_serialize(value) {
            Ok(json) => Some(json),
            Err(error) => {
                let error = Error::new(ErrorKind::Codec, "encode an argument of the retry").with_source(error);
                self.failed = Some(error.into());
                None
            }
        }
    }

    /// The wish, or the error that stands in its way: an argument that cannot be encoded, or the cause itself where the
    /// function was called directly and there is nothing to run again.
    fn decided(self) -> Result<(Ctx, RetryRequest), TaskError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.ctx.request().called_directly
            && let Some(cause) = self.retry.cause
        {
            return Err(cause.into());
        }
        Ok((self.ctx, self.retry))
    }
}

macro_rules! retry_setters {
    ({ $($name:ident [$($doc:tt)+] ($type:ty) ($argument:ident: $argument_type:ty) ($value:expr);)+ }) => {
        /// Options of the next run. Without them it has those of this one.
        impl RetryBuilder {
            $(
                #[doc = concat!($($doc)+)]
                pub fn $name(mut self, $argument: $argument_type) -> Self {
                    self.retry.$name = Some($value);
                    self
                }
            )+
        }
    };
}
apium_options::options! { retry => retry_setters }

impl From<RetryBuilder> for TaskError {
    fn from(builder: RetryBuilder) -> Self {
        match builder.decided() {
            Ok((_, retry)) => retry.into(),
            Err(error) => error,
        }
    }
}

impl fmt::Debug for RetryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.retry.fmt(f)
    }
}

/// Turns an error into a retry with that error as its cause. It takes what `?` takes in a task.
pub trait OrRetry<T> {
    /// The value, or a retry; `shape` says which one.
    ///
    /// ```text
    /// let page = fetch(url).await.or_retry(ctx, |r| r.backoff().max_retries(3))?;
    /// ```
    ///
    /// # Errors
    /// The retry, with the error as its cause.
    fn or_retry(self, ctx: &Ctx, shape: impl FnOnce(RetryBuilder) -> RetryBuilder) -> TaskResult<T>;
}

impl<T, E: Into<TaskError>> OrRetry<T> for Result<T, E> {
    fn or_retry(self, ctx: &Ctx, shape: impl FnOnce(RetryBuilder) -> RetryBuilder) -> TaskResult<T> {
        self.map_err(|error| shape(ctx.retry().cause(error)).into())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use apium_protocol::json::text::Json;

    use super::OrRetry;
    use crate::context::context::Ctx;
    use crate::context::request::{Request, RetryRequest};
    use crate::task_error::{TaskError, TaskErrorKind};

    fn ctx() -> Ctx {
        let mut request = Request::direct();
        request.called_directly = false;
        Ctx::for_request(request)
    }

    fn retry(error: impl Into<TaskError>) -> RetryRequest {
        match error.into().into_kind() {
            TaskErrorKind::Retry(retry) => retry,
            other => panic!("not a retry: {other:?}"),
        }
    }

    #[test]
    fn the_builder_ends_the_task_as_a_retry() {
        let builder = ctx().retry().countdown(Duration::from_secs(5)).max_retries(8).queue("slow").priority(2);
        let wish = retry(builder.args((1, "a")).kwarg("k", true).header("tenant", 7));
        assert_eq!((wish.countdown, wish.max_retries), (Some(Duration::from_secs(5)), Some(Some(8))));
        assert_eq!((wish.queue.as_deref(), wish.priority), (Some("slow"), Some(2)));
        let json = |text: &str| Json::from_text(text).unwrap();
        assert_eq!(wish.args.unwrap(), [json("1"), json("\"a\"")]);
        assert_eq!(wish.kwargs.unwrap(), [("k".to_owned(), json("true"))]);
        assert_eq!(wish.headers.get("tenant"), Some(&json("7")));
        assert!(!wish.automatic && !wish.backoff);
    }

    #[test]
    fn an_error_becomes_the_cause_of_a_retry() {
        let failed: Result<u8, _> = "x".parse::<u8>();
        let error = failed.or_retry(&ctx(), |r| r.backoff().no_limit()).unwrap_err();
        let wish = retry(error);
        assert!(wish.backoff);
        assert_eq!(wish.max_retries, Some(None));
        assert_eq!(wish.cause.unwrap().exception().exc_type, "ParseIntError");
    }

    #[test]
    fn called_directly_the_cause_comes_back() {
        let error: TaskError = Ctx::direct().retry().cause(std::fmt::Error).into();
        assert!(matches!(error.kind(), TaskErrorKind::Failure(failure) if failure.exception().exc_type == "Error"));
        let error: TaskError = Ctx::direct().retry().into();
        assert!(matches!(error.kind(), TaskErrorKind::Retry(_)));
    }

    #[test]
    fn an_argument_that_cannot_be_encoded_fails_the_task() {
        let bad: HashMap<Vec<u8>, u8> = HashMap::from([(vec![1], 1)]);
        let error: TaskError = ctx().retry().args((bad,)).into();
        assert!(matches!(error.kind(), TaskErrorKind::Failure(_)));
    }
}
