//! How a task asks to be run again (Celery: `self.retry(…)`).

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
use crate::publish::policy::PublishPolicy;
use crate::retry::policy::{RetryPlan, RetryWish, decide_retry};
use crate::task::arguments::ArgumentWriter;
use crate::task::into_arguments::IntoArguments;
use crate::task_error::{TaskError, TaskErrorKind, TaskResult};

/// A retry that a task asks for, made by [`Ctx::retry`]. The next run has the id, the queue and the options of this
/// one, but for those that are given here. Return it as the task's error:
/// `return Err(ctx.retry().countdown(wait).into())`.
#[must_use = "return it as the task's error, or send it"]
pub struct RetryBuilder {
    ctx: Ctx,
    retry: RetryRequest,
    encode_error: Option<TaskError>,
}

impl Ctx {
    /// Asks for another run. Return it as the task's error, or [`send`](RetryBuilder::send) it.
    pub fn retry(&self) -> RetryBuilder {
        RetryBuilder::new(self.clone())
    }
}

impl RetryBuilder {
    fn new(ctx: Ctx) -> Self {
        Self { ctx, retry: RetryRequest::default(), encode_error: None }
    }

    /// How long the next run waits from now; zero is not at all. Default: the task's `default_retry_delay` (1800 s).
    pub fn countdown(mut self, wait: Duration) -> Self {
        self.retry.countdown = Some(wait);
        self
    }

    /// The earliest instant of the next run. It replaces `countdown`.
    pub fn eta(mut self, at: Timestamp) -> Self {
        self.retry.eta = Some(at);
        self
    }

    /// Waits as `retry_backoff` says: factor · 2^retries seconds up to `retry_backoff_max`, with jitter unless
    /// `retry_jitter` is off. The factor is 1 for a task without `retry_backoff`.
    pub fn backoff(mut self) -> Self {
        self.retry.backoff = true;
        self
    }

    /// How many retries there may be in all, in place of the task's `max_retries`.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.retry.max_retries = Some(Some(retries));
        self
    }

    /// No limit of retries.
    pub fn no_limit(mut self) -> Self {
        self.retry.max_retries = Some(None);
        self
    }

    /// The error that caused the retry (Celery: `exc=`). It is stored with RETRY, and as FAILURE when the limit of
    /// retries is reached.
    pub fn cause(mut self, error: impl Into<TaskError>) -> Self {
        self.retry.cause = match error.into().into_kind() {
            TaskErrorKind::Failure(failure) => Some(failure),
            TaskErrorKind::Retry(retry) => retry.cause,
            TaskErrorKind::Reject { reason, .. } => Some(Failure::message(reason)),
            TaskErrorKind::Ignore | TaskErrorKind::Replace(_) => None,
        };
        self
    }

    /// Other positional arguments for the next run.
    pub fn args(mut self, args: impl IntoArguments) -> Self {
        match args.write(ArgumentWriter::new(0)).finish() {
            Ok(arguments) => self.retry.args = Some(arguments.args),
            Err(error) => self.fail(error),
        }
        self
    }

    /// A keyword argument for the next run. The first one replaces all keyword arguments of the request.
    pub fn kwarg(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        if let Some(json) = self.encoded(&value) {
            self.retry.kwargs.get_or_insert_default().push((name.into(), json));
        }
        self
    }

    /// A further header, added to those of the request.
    pub fn header(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        if let Some(json) = self.encoded(&value) {
            self.retry.headers.insert(name.into(), json);
        }
        self
    }

    /// Sends the message of the next run now, and this run goes on (Celery: `throw=False`). What this run then returns
    /// is stored as SUCCESS, which the next run cannot change. In a plain function call `wait()` on what this returns.
    ///
    /// # Errors
    /// The failure of the task when the limit of retries is reached: its cause, or `MaxRetriesExceededError`. A
    /// rejection of the message when the broker or a layer refuses the message of the next run, as in Celery. A broker
    /// that cannot be reached is no failure of the task: with late ack the message of this run goes back to its queue.
    pub fn send(self) -> Deferred<(), TaskError> {
        let ctx = self.ctx.clone();
        ctx.deferred(async move {
            let (ctx, retry) = self.into_request()?;
            let publisher = ctx.needed_publisher()?;
            let request = ctx.request();
            let (Some(id), Some(task)) = (request.id(), ctx.task()) else {
                return Err(TaskError::failure("the task cannot be run again: it was called directly"));
            };
            let now = publisher.clock().now();
            match decide_retry(request, task, RetryWish::Asked(&retry), now, &mut fastrand::Rng::new()) {
                RetryPlan::Exceeded(failure) | RetryPlan::NotWanted(failure) => Err(failure.into()),
                RetryPlan::Retry(next) => {
                    let message = publisher.retry_message(request, &next)?;
                    let policy = PublishPolicy::of(publisher.config());
                    publisher.publish_calls(vec![message], policy).await.map_err(not_published)?;
                    ctx.add_child(id.clone());
                    Ok(())
                }
            }
        })
    }

    fn fail(&mut self, error: Error) {
        self.encode_error = Some(error.into());
    }

    fn encoded(&mut self, value: &impl Serialize) -> Option<Json> {
        match Json::from_serialize(value) {
            Ok(json) => Some(json),
            Err(error) => {
                self.fail(Error::new(ErrorKind::Codec, "encode an argument of the retry").with_source(error));
                None
            }
        }
    }

    /// The retry; or an argument that could not be encoded; or the cause, if the function was called directly, so that
    /// there is no message to send again.
    fn into_request(self) -> Result<(Ctx, RetryRequest), TaskError> {
        if let Some(error) = self.encode_error {
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

/// How a task ends whose retry could not be published.
fn not_published(error: Error) -> TaskError {
    let failure = Failure::from_error(error);
    match failure.is_outage() {
        true => failure.into(),
        false => TaskError::reject_because(format!("could not {}", failure.exception().message()), false),
    }
}

macro_rules! retry_setters {
    ({ $($name:ident [$($doc:tt)+] ($type:ty) ($argument:ident: $argument_type:ty) ($value:expr);)+ }) => {
        /// Options of the next run. It has those of this run otherwise.
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
        match builder.into_request() {
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

/// Makes a retry of an error, with that error as its cause. It takes the errors that `?` takes in a task.
pub trait OrRetry<T> {
    /// The value, or a retry whose options `shape` sets.
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
        let request = retry(builder.args((1, "a")).kwarg("k", true).header("tenant", 7));
        assert_eq!((request.countdown, request.max_retries), (Some(Duration::from_secs(5)), Some(Some(8))));
        assert_eq!((request.queue.as_deref(), request.priority), (Some("slow"), Some(2)));
        let json = |text: &str| Json::from_text(text).unwrap();
        assert_eq!(request.args.unwrap(), [json("1"), json("\"a\"")]);
        assert_eq!(request.kwargs.unwrap(), [("k".to_owned(), json("true"))]);
        assert_eq!(request.headers.get("tenant"), Some(&json("7")));
        assert!(!request.automatic && !request.backoff);
    }

    #[test]
    fn an_error_becomes_the_cause_of_a_retry() {
        let failed: Result<u8, _> = "x".parse::<u8>();
        let error = failed.or_retry(&ctx(), |r| r.backoff().no_limit()).unwrap_err();
        let request = retry(error);
        assert!(request.backoff);
        assert_eq!(request.max_retries, Some(None));
        assert_eq!(request.cause.unwrap().exception().exc_type, "ParseIntError");
    }

    #[test]
    fn a_retry_of_a_direct_call_returns_its_cause() {
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
