//! The tasks that panic, one for each place where the worker calls code of the user's, and those that hang.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use apium::message::Signature as WireSignature;
use apium::prelude::*;
use tokio::runtime::Handle;
use tokio::sync::{Barrier, watch};

use crate::faults::kit::run_log::RunLog;
use crate::user_code::broken::{
    PanicsInDisplay, PanicsInSerde, PanicsInSource, PanicsOnDrop, PanicsWhenInjected, panics,
};

/// How long a run waits until all slots have one.
const MEETING: Duration = Duration::from_secs(30);

/// What the tasks of an app share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Where runs are recorded.
    pub log: Arc<RunLog>,
    /// Runs meet here, as many as there are slots.
    pub meeting: Arc<Barrier>,
    /// Whether what hangs goes on.
    pub released: watch::Sender<bool>,
}

impl FromContext for Shared {
    // It declares no need: every app of a program has all its tasks, and those of the other fault tests have no such
    // state.
    fn from_context(ctx: &Ctx) -> TaskResult<Self> {
        ctx.state::<Self>().cloned().ok_or_else(|| TaskError::failure("the app is that of another fault test"))
    }
}

impl Shared {
    /// Returns when what hangs is released.
    pub async fn hang(&self) {
        // The sender lives as long as this.
        let _ = self.released.subscribe().wait_for(|released| *released).await;
    }

    async fn meet(&self) -> TaskResult<()> {
        tokio::time::timeout(MEETING, self.meeting.wait()).await?;
        Ok(())
    }
}

/// Records its number.
#[task(name = "user_code.innocent")]
pub async fn innocent(#[inject] shared: Shared, number: u64) -> TaskResult<u64> {
    tokio::time::sleep(Duration::from_millis(number % 4)).await;
    shared.log.record(number)?;
    Ok(number)
}

/// The same as a plain function.
#[task(name = "user_code.plain_innocent")]
pub fn plain_innocent(#[inject] shared: Shared, number: u64) -> TaskResult<u64> {
    shared.log.record(number)?;
    Ok(number)
}

/// Ends when every slot runs one.
#[task(name = "user_code.meets")]
pub async fn meets(#[inject] shared: Shared) -> TaskResult<()> {
    shared.meet().await
}

/// The same as a plain function.
#[task(name = "user_code.plain_meets")]
pub fn plain_meets(#[inject] shared: Shared) -> TaskResult<()> {
    Handle::current().block_on(shared.meet())
}

#[task(name = "user_code.body")]
async fn body() -> TaskResult<()> {
    panics("body")
}

#[task(name = "user_code.plain_body")]
fn plain_body() -> TaskResult<()> {
    panics("plain body")
}

/// Runs until its time limit, and panics when it is dropped then.
#[task(name = "user_code.dropped", time_limit = 0.2)]
async fn dropped() -> TaskResult<()> {
    let _panics = PanicsOnDrop;
    std::future::pending().await
}

#[task(name = "user_code.argument")]
async fn argument(argument: PanicsInSerde) -> TaskResult<()> {
    let _ = argument;
    Ok(())
}

#[task(name = "user_code.injected")]
async fn injected(#[inject] injected: PanicsWhenInjected) -> TaskResult<()> {
    let _ = injected;
    Ok(())
}

#[task(name = "user_code.result")]
async fn result() -> TaskResult<PanicsInSerde> {
    Ok(PanicsInSerde)
}

#[task(name = "user_code.display")]
async fn display() -> TaskResult<()> {
    Err(PanicsInDisplay)?
}

#[task(name = "user_code.source")]
async fn source() -> TaskResult<()> {
    Err(PanicsInSource::after(0))?
}

/// The worker looks for the causes of its error when it decides whether to retry.
#[task(name = "user_code.matched", autoretry_for(std::fmt::Error), throws(std::fmt::Error))]
async fn matched() -> TaskResult<()> {
    Err(PanicsInSource::after(1))?
}

// A layer around the run panics for these, before it has made its future, in it, and after the run.

#[task(name = "user_code.layer")]
async fn layer() -> TaskResult<()> {
    Ok(())
}

#[task(name = "user_code.layer_later")]
async fn layer_later() -> TaskResult<()> {
    Ok(())
}

#[task(name = "user_code.layer_after")]
async fn layer_after() -> TaskResult<()> {
    Ok(())
}

// Callbacks, errbacks and bodies of chords whose message cannot be made: the route, the serializer or a layer panics.

#[task(name = "user_code.unrouted")]
async fn unrouted() -> TaskResult<()> {
    Ok(())
}

#[task(name = "user_code.unwritten")]
async fn unwritten() -> TaskResult<()> {
    Ok(())
}

#[task(name = "user_code.refused")]
async fn refused() -> TaskResult<()> {
    Ok(())
}

/// Its message is written and cannot be read.
#[task(name = "user_code.unread")]
async fn unread() -> TaskResult<()> {
    Ok(())
}

#[task(name = "user_code.succeeds")]
async fn succeeds(#[default] before: Option<Json>) -> TaskResult<u64> {
    let _ = before;
    Ok(1)
}

#[task(name = "user_code.fails")]
async fn fails() -> TaskResult<()> {
    Err(TaskError::failure("no"))
}

#[task(name = "user_code.replaced")]
async fn replaced(ctx: &Ctx) -> TaskResult<()> {
    Err(ctx.replace(WireSignature::new(unrouted::NAME)))
}

/// The serializer panics for its retry.
#[task(name = "user_code.retry_unwritten")]
async fn retry_unwritten(ctx: &Ctx) -> TaskResult<()> {
    Err(ctx.retry().countdown(Duration::ZERO).into())
}

/// A layer panics for its retry.
#[task(name = "user_code.retry_refused")]
async fn retry_refused(ctx: &Ctx) -> TaskResult<()> {
    Err(ctx.retry().countdown(Duration::ZERO).into())
}

#[task(name = "user_code.errback")]
async fn errback(request: serde_json::Value, error: ExceptionInfo, traceback: Option<String>) -> TaskResult<()> {
    let _ = (request, error, traceback);
    panics("errback")
}

#[task(name = "user_code.plain_errback")]
fn plain_errback(request: serde_json::Value, error: ExceptionInfo, traceback: Option<String>) -> TaskResult<()> {
    let _ = (request, error, traceback);
    panics("plain errback")
}

// Hooks, which panic when they are awaited (`later`) or before that.

async fn before_start_later(_: &Ctx) -> TaskResult<()> {
    panics("before_start, later")
}

fn before_start(_: &Ctx) -> Ready<TaskResult<()>> {
    if true { panics("before_start") } else { ready(Ok(())) }
}

async fn on_success_later(_: &Ctx, _: &Json) {
    panics("on_success, later")
}

fn on_success(_: &Ctx, _: &Json) -> Ready<()> {
    panics("on_success")
}

async fn on_failure_later(_: &Ctx, _: &Failure) {
    panics("on_failure, later")
}

fn on_failure(_: &Ctx, _: &Failure) -> Ready<()> {
    panics("on_failure")
}

async fn on_retry_later(_: &Ctx, _: Option<&Failure>) {
    panics("on_retry, later")
}

fn on_retry(_: &Ctx, _: Option<&Failure>) -> Ready<()> {
    panics("on_retry")
}

async fn after_return_later(_: &Ctx, _: &Returned) {
    panics("after_return, later")
}

fn after_return(_: &Ctx, _: &Returned) -> Ready<()> {
    panics("after_return")
}

async fn on_replace_later(_: &Ctx, _: Signature<Anything, Json>) -> TaskResult<Signature<Anything, Json>> {
    panics("on_replace, later")
}

fn on_replace(_: &Ctx, _: Signature<Anything, Json>) -> Ready<TaskResult<Signature<Anything, Json>>> {
    panics("on_replace")
}

#[task(name = "user_code.before_start", before_start = before_start)]
async fn starts() -> TaskResult<()> {
    Ok(())
}

#[task(name = "user_code.before_start_later", before_start = before_start_later)]
async fn starts_later() -> TaskResult<()> {
    Ok(())
}

/// Succeeds, fails, or is retried once.
#[task(
    name = "user_code.hooked",
    on_success = on_success, on_failure = on_failure, on_retry = on_retry, after_return = after_return,
)]
async fn hooked(ctx: &Ctx, how: String) -> TaskResult<()> {
    ends(ctx, &how)
}

/// The same with hooks that panic later.
#[task(
    name = "user_code.hooked_later",
    on_success = on_success_later, on_failure = on_failure_later, on_retry = on_retry_later,
    after_return = after_return_later,
)]
async fn hooked_later(ctx: &Ctx, how: String) -> TaskResult<()> {
    ends(ctx, &how)
}

fn ends(ctx: &Ctx, how: &str) -> TaskResult<()> {
    match how {
        "fails" => Err(TaskError::failure("no")),
        "retries" if ctx.retries() == 0 => Err(ctx.retry().countdown(Duration::ZERO).into()),
        _ => Ok(()),
    }
}

#[task(name = "user_code.on_replace", on_replace = on_replace)]
async fn replaces(ctx: &Ctx) -> TaskResult<()> {
    Err(ctx.replace(WireSignature::new(succeeds::NAME)))
}

#[task(name = "user_code.on_replace_later", on_replace = on_replace_later)]
async fn replaces_later(ctx: &Ctx) -> TaskResult<()> {
    Err(ctx.replace(WireSignature::new(succeeds::NAME)))
}

// What hangs until its time limit.

#[task(name = "user_code.hangs", time_limit = 0.2)]
async fn hangs() -> TaskResult<()> {
    std::future::pending().await
}

/// Its thread goes on until it is released.
#[task(name = "user_code.plain_hangs", time_limit = 0.2)]
fn plain_hangs(#[inject] shared: Shared) -> TaskResult<()> {
    Handle::current().block_on(shared.hang());
    Ok(())
}

#[task(name = "user_code.errback_hangs", time_limit = 0.2)]
async fn errback_hangs(request: serde_json::Value, error: ExceptionInfo, traceback: Option<String>) -> TaskResult<()> {
    let _ = (request, error, traceback);
    std::future::pending().await
}

// What hangs until it is released, or a cold stop cancels it. Each records its number when it begins.

/// A body.
#[task(name = "user_code.held")]
pub async fn held(#[inject] shared: Shared, number: u64) -> TaskResult<()> {
    shared.log.record(number)?;
    shared.hang().await;
    Ok(())
}

/// A body that is a plain function.
#[task(name = "user_code.plain_held")]
pub fn plain_held(#[inject] shared: Shared, number: u64) -> TaskResult<()> {
    shared.log.record(number)?;
    Handle::current().block_on(shared.hang());
    Ok(())
}

async fn hook_is_held(ctx: &Ctx, number: &Json) -> TaskResult<()> {
    let shared = Shared::from_context(ctx)?;
    shared.log.record(number.decode()?)?;
    shared.hang().await;
    Ok(())
}

/// A hook.
#[task(name = "user_code.hook_held", on_success = hook_is_held)]
pub async fn hook_held(number: u64) -> TaskResult<u64> {
    Ok(number)
}

/// An errback. Its number is an argument of its own.
#[task(name = "user_code.errback_held")]
fn errback_held(
    #[inject] shared: Shared,
    request: serde_json::Value,
    error: ExceptionInfo,
    traceback: Option<String>,
    number: u64,
) -> TaskResult<()> {
    let _ = (request, error, traceback);
    shared.log.record(number)?;
    Handle::current().block_on(shared.hang());
    Ok(())
}
