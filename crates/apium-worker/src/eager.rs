//! Eager calls (`task_always_eager`, `apply`): the task runs in the caller's process. The executor and the verdicts are
//! those of a worker, and so are the layers of the app; there is no queue, no limit and no countdown.

use std::sync::Arc;

use apium_app::app::app::App;
use apium_app::app::eager_runner::{EagerRun, EagerRunner};
use apium_app::canvas::eager::apply;
use apium_app::canvas::node::Node;
use apium_app::canvas::plan::SendWith;
use apium_app::context::context::{Ctx, CtxParts};
use apium_app::context::limit_signal::LimitSignal;
use apium_app::context::request::{DeliveryInfo, Request};
use apium_app::context::result_document::{ResultUpdate, result_document};
use apium_app::context::store_waits::StoreWaits;
use apium_app::error::Result;
use apium_app::failure::Failure;
use apium_app::result::async_result::failure_of;
use apium_app::retry::policy::NextRun;
use apium_app::task::arguments::Arguments;
use apium_app::task_error::TaskError;
use apium_protocol::error::with_causes;
use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature;
use apium_protocol::result::document::ResultDocument;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;
use apium_protocol::value::printable::printable_text;
use apium_transport::backend::backend::ResultRecord;
use futures_util::future::BoxFuture;
use tracing::Instrument as _;

use crate::follow_up::errback_style::called_by_worker;
use crate::follow_up::pending_errback::errback_arguments;
use crate::health::node_name;
use crate::layer::WorkLayers;
use crate::limits::stopped_time::RunClock;
use crate::limits::time_limit::Limits;
use crate::outcome::RunOutcome;
use crate::pipeline::executor::Executor;
use crate::pipeline::verdict::{RunFacts, Verdict, decide};
use crate::pipeline::{hooks, log};
use crate::pool::kind::PoolKind;
use crate::pool::pool::PoolSlot;
use crate::pool::pools::Pools;
use crate::pool::threads::LeakCeiling;

/// Runs eager calls. `AppBuilder::eager_runner` takes it.
#[derive(Debug, Clone, Copy, Default)]
pub struct EagerWorker;

impl EagerRunner for EagerWorker {
    fn run(&self, app: App, run: EagerRun) -> BoxFuture<'static, Result<ResultDocument>> {
        Box::pin(eager(app, run))
    }
}

async fn eager(app: App, run: EagerRun) -> Result<ResultDocument> {
    let EagerRun { task, message, throws, .. } = run;
    let invocation = app.codecs().decode(&message, app.accept())?;
    let mut from = DeliveryInfo::default();
    from.priority = message.properties.priority;
    let host: Arc<str> = node_name::host().into();
    let mut request =
        Request::from_message(invocation.headers, message.properties, invocation.body, from).on_host(host);
    request.is_eager = true;
    request.utc = invocation.utc.unwrap_or(app.config().enable_utc);
    let ceiling = LeakCeiling { most: 0, faults: None };
    let pools = Pools::new(PoolKind::Async, 1, &RunClock::new(app.clock().clone()), ceiling);
    let slot = PoolSlot::unwatched(Arc::default());
    let executor = Executor { pools, layers: WorkLayers::of(&app) };
    let document = loop {
        let ctx = Ctx::new(CtxParts {
            request: Arc::new(request.clone()),
            task: task.clone(),
            publisher: app.publisher().clone(),
            backend: app.backend_for(&task).cloned(),
            states: app.states().clone(),
            limits: LimitSignal::never(),
            run: None,
            waits: StoreWaits::default(),
        });
        let span = log::span(&task.name, &request);
        let began = std::time::Instant::now();
        let outcome = executor.execute(&ctx, Limits::NONE, &slot).instrument(span.clone()).await;
        let outcome = match outcome {
            RunOutcome::Replace(with) => run_replacement(&app, &with).await,
            outcome => outcome,
        };
        let now = app.clock().now();
        let verdict = decide(RunFacts { request: &request, task: &task, now }, outcome, &mut fastrand::Rng::new());
        log::ended(&task, &request, &verdict, began.elapsed(), now);
        let update = result_update(&verdict);
        follow(&app, &ctx, &verdict).await?;
        // A retry runs at once, whatever its countdown.
        let next = if let Verdict::Retry(next) = &verdict { Some(next.clone()) } else { None };
        // As in Celery: where the failure is raised to the caller (`throw`), no hook is called for it.
        let is_raised = throws && matches!(verdict, Verdict::Failed { .. });
        if !is_raised && hooks::wanted(&task.hooks, &verdict) {
            hooks::after(&task.hooks, &ctx, verdict).instrument(span).await;
        }
        match next {
            Some(next) => apply_retry(&mut request, *next),
            None => {
                let id = request.headers.id.clone().unwrap_or_else(|| "".into());
                break result_document(&request, id, update, ctx.children(), &app.config().result_policy(), now);
            }
        }
    };
    executor.pools.release();
    let ignored = request.headers.ignore_result.unwrap_or(task.effective.ignore_result);
    if let Some(backend) = app.backend_for(&task).filter(|_| app.config().task_store_eager_result && !ignored)
        && document.state.is_ready()
    {
        let record = ResultRecord::new(document.clone()).kept_for(app.config().result_ttl());
        backend.store(vec![record]).await?;
    }
    Ok(document)
}

/// Runs the signature that replaces a task. Its value or its failure becomes the task's.
async fn run_replacement(app: &App, with: &Signature) -> RunOutcome {
    let result = match Node::from_wire(with) {
        Ok(node) => apply(app, node, Arguments::default()).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(eager_result) => match eager_result.documents.iter().find(|document| document.state.propagates()) {
            Some(failed) => RunOutcome::Failure(failure_of(failed)),
            None => RunOutcome::Success(eager_result.value),
        },
        Err(error) => RunOutcome::from(Err(TaskError::from(error))),
    }
}

/// Runs what follows an eager run: callbacks with its value, errbacks with its id. Errbacks that a worker would call
/// itself get the request, the exception and the traceback instead.
async fn follow(app: &App, ctx: &Ctx, verdict: &Verdict) -> Result<()> {
    let request = ctx.request();
    match verdict {
        Verdict::Succeeded(value) => {
            for callback in request.callbacks() {
                let node = Node::from_wire(callback)?;
                let eager_result = apply(app, node, SendWith::result(value.clone()).arguments).await?;
                ctx.add_children(eager_result.result);
            }
        }
        Verdict::Failed { failure, .. } => {
            for errback in request.errbacks() {
                let node = Node::from_wire(errback)?;
                let args = match called_by_worker(app.registry(), &node) {
                    Some(_) => errback_arguments(request, failure),
                    None => vec![Json::from_serialize(&request.id())?],
                };
                let arguments = Arguments::new(args, Vec::new());
                if let Err(error) = apply(app, node, arguments).await {
                    tracing::error!(error = %with_causes(&error), errback = &*printable_text(&errback.task), "an errback failed; the result of the task stays as it is");
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// What the document of an eager run says. The states IGNORED and REJECTED exist in eager results only.
fn result_update(verdict: &Verdict) -> ResultUpdate {
    match verdict {
        Verdict::Succeeded(value) => ResultUpdate { state: State::Success, result: value.clone(), traceback: None },
        Verdict::Failed { failure, .. } => ResultUpdate::of_failure(State::Failure, failure),
        Verdict::Rejected { reason, requeue } => ResultUpdate::of_failure(
            State::Rejected,
            &Failure::from_exception(ExceptionInfo::reject(Some(reason), *requeue)),
        ),
        Verdict::Revoked(why) => {
            let exception = ExceptionInfo::task_revoked(why.reason());
            ResultUpdate::of_failure(State::Revoked, &Failure::from_exception(exception))
        }
        Verdict::Retry(_) | Verdict::Retried { .. } => {
            ResultUpdate { state: State::Retry, result: Json::NULL, traceback: None }
        }
        Verdict::Ignored
        | Verdict::Replaced(_)
        | Verdict::Aborted
        | Verdict::Cancelled { .. }
        | Verdict::Unavailable(_) => ResultUpdate { state: State::Ignored, result: Json::NULL, traceback: None },
    }
}

/// Makes the request that of the next run.
fn apply_retry(request: &mut Request, next: NextRun) {
    request.headers.retries = next.retries;
    request.headers.extra.extend(next.headers);
    if let Some(args) = next.args {
        request.body.args = args;
    }
    if let Some(kwargs) = next.kwargs {
        request.body.kwargs = kwargs;
    }
}
