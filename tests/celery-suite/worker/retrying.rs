//! Tasks that ask to be run again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use apium::prelude::*;
use apium::task::{Backoff, ErrorMatcher, TaskOptions};
use serde::Deserialize;

use crate::failing::{ExpectedException, UnpickleableException, ValueError};
use crate::python;

/// The runs of `retry` with a value so far. Python keeps the count in the task's object, so all its messages share it.
static ATTEMPTS: AtomicU32 = AtomicU32::new(0);

#[task(name = "t.integration.tasks.retry", default_retry_delay = 1)]
pub(crate) async fn retry(ctx: &Ctx, #[default] return_value: Option<Value>) -> TaskResult<Value> {
    if let Some(value) = return_value.filter(python::is_true) {
        if ATTEMPTS.load(Ordering::Relaxed) == 3 {
            ATTEMPTS.store(0, Ordering::Relaxed);
            return Ok(value);
        }
        ATTEMPTS.fetch_add(1, Ordering::Relaxed);
    }
    Err(ctx.retry().cause(Failure::from_error(ExpectedException(Vec::new()))).countdown(Duration::from_secs(5)).into())
}

/// The options of a retry that a caller gives.
#[derive(Deserialize, serde::Serialize)]
pub(crate) struct RetryKwargs {
    countdown: Option<f64>,
    max_retries: Option<u32>,
}

#[task(name = "t.integration.tasks.retry_unpickleable", default_retry_delay = 1)]
pub(crate) async fn retry_unpickleable(
    ctx: &Ctx,
    foo: Json,
    _bar: Json,
    #[keyword] retry_kwargs: RetryKwargs,
) -> TaskResult<()> {
    let mut retry = ctx.retry().cause(Failure::from_error(UnpickleableException { foo }));
    if let Some(seconds) = retry_kwargs.countdown {
        retry = retry.countdown(Duration::try_from_secs_f64(seconds)?);
    }
    if let Some(max) = retry_kwargs.max_retries {
        retry = retry.max_retries(max);
    }
    Err(retry.into())
}

#[task(name = "t.integration.tasks.retry_with_args_after_kwargs", max_retries = 1)]
pub(crate) async fn retry_with_args_after_kwargs(
    ctx: &Ctx,
    foo: i64,
    bar: i64,
    #[default] label: Option<String>,
) -> TaskResult<serde_json::Value> {
    let request = ctx.request();
    if request.retries() == 0 {
        return Err(ctx.retry().args((foo + 1, bar + 1)).countdown(Duration::ZERO).into());
    }
    let (retries, is_eager) = (request.retries(), request.is_eager);
    Ok(json!({"foo": foo, "bar": bar, "label": label, "retries": retries, "is_eager": is_eager}))
}

#[task(name = "t.integration.tasks.retry_with_kwargs_after_args", max_retries = 1)]
pub(crate) async fn retry_with_kwargs_after_args(ctx: &Ctx, foo: i64, bar: i64) -> TaskResult<serde_json::Value> {
    let request = ctx.request();
    if request.retries() == 0 {
        return Err(ctx.retry().kwarg("foo", foo + 1).countdown(Duration::ZERO).into());
    }
    Ok(json!({"foo": foo, "bar": bar, "retries": request.retries(), "is_eager": request.is_eager}))
}

/// `self.retry(…)` with these options, of which each may be Python's `None`.
#[expect(clippy::disallowed_methods, reason = "the worker runs in the time of the tests, which is real")]
fn again(ctx: &Ctx, expires: Option<f64>, max_retries: Option<u32>, countdown: Option<f64>) -> TaskResult<TaskError> {
    let mut retry = ctx.retry();
    if let Some(max) = max_retries {
        retry = retry.max_retries(max);
    }
    if let Some(seconds) = countdown {
        retry = retry.countdown(Duration::try_from_secs_f64(seconds)?);
    }
    if let Some(seconds) = expires {
        retry = retry.expires(jiff::Timestamp::now() + jiff::SignedDuration::from_secs_f64(seconds));
    }
    Ok(retry.into())
}

#[task(name = "t.integration.tasks.retry_once", expires = 120, max_retries = 1)]
pub(crate) async fn retry_once(
    ctx: &Ctx,
    _args: Args,
    #[default] expires: Option<f64>,
    #[default(Some(1))] max_retries: Option<u32>,
    #[default(Some(0.1))] countdown: Option<f64>,
) -> TaskResult<u32> {
    match ctx.request().retries() {
        0 => Err(again(ctx, expires, max_retries, countdown)?),
        retries => Ok(retries),
    }
}

#[task(name = "t.integration.tasks.retry_once_ignore_result", ignore_result)]
pub(crate) async fn retry_once_ignore_result(ctx: &Ctx) -> TaskResult<u32> {
    match ctx.request().retries() {
        0 => Err(ctx.retry().countdown(Duration::ZERO).into()),
        retries => Ok(retries),
    }
}

#[task(name = "t.integration.tasks.retry_once_with_result", ignore_result = false)]
pub(crate) async fn retry_once_with_result(ctx: &Ctx) -> TaskResult<u32> {
    match ctx.request().retries() {
        0 => Err(ctx.retry().countdown(Duration::ZERO).into()),
        retries => Ok(retries),
    }
}

#[task(name = "t.integration.tasks.retry_once_priority", max_retries = 1)]
pub(crate) async fn retry_once_priority(
    ctx: &Ctx,
    _args: Args,
    #[default(Some(60.0))] _expires: Option<f64>,
    #[default(Some(1))] max_retries: Option<u32>,
    #[default(Some(0.1))] countdown: Option<f64>,
) -> TaskResult<Option<u8>> {
    match ctx.request().retries() {
        0 => Err(again(ctx, None, max_retries, countdown)?),
        _ => Ok(ctx.request().delivery_info.priority),
    }
}

#[task(name = "t.integration.tasks.retry_once_headers", max_retries = 1)]
pub(crate) async fn retry_once_headers(
    ctx: &Ctx,
    _args: Args,
    #[default(Some(1))] max_retries: Option<u32>,
    #[default(Some(0.1))] countdown: Option<f64>,
) -> TaskResult<Option<BTreeMap<String, Json>>> {
    match ctx.request().retries() {
        0 => Err(again(ctx, None, max_retries, countdown)?),
        _ => Ok(ctx.request().headers().cloned()),
    }
}

/// A task class with the options of a retry.
pub(crate) struct ClassBasedAutoRetryTask;

impl Task for ClassBasedAutoRetryTask {
    const NAME: &'static str = "auto_retry_class_task";
    type Args = ();
    type Output = u32;

    fn options(&self) -> TaskOptions {
        let mut options = TaskOptions::NEW;
        options.autoretry_for = vec![ErrorMatcher::of::<ValueError>("ValueError")].into();
        options.retry_backoff = Some(Backoff::Exponential(1));
        options.retry_kwargs_max_retries = Some(Some(1));
        options
    }

    async fn run(&self, ctx: &Ctx, (): ()) -> TaskResult<u32> {
        match ctx.request().retries() {
            0 => Err(ValueError(Vec::new()).into()),
            retries => Ok(retries),
        }
    }
}
