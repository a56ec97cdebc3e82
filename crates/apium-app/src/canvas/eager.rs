//! Eager calls (Celery: `apply`, `task_always_eager`): signatures of every kind are run in the caller's process, one
//! task after the other, a header before its body.

use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::{ResultDocument, ResultTuple};
use futures_util::future::BoxFuture;

use crate::app::app::App;
use crate::app::eager_runner::EagerRun;
use crate::canvas::freeze::{Ids, WorkflowIds};
use crate::canvas::node::{ChordNode, GroupNode, Node, TaskNode};
use crate::canvas::pipe::move_links_to_steps;
use crate::canvas::plan::SendWith;
use crate::canvas::steps::sendable_steps;
use crate::error::{Error, ErrorKind, Result};
use crate::publish::prepare::CallSpec;
use crate::result::async_result::{AsyncResult, raised};
use crate::task::arguments::Arguments;

/// What an eager call ran.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EagerResult {
    /// The result, with the results before it.
    pub result: ResultTuple,
    /// The documents of all that ran.
    pub documents: Vec<ResultDocument>,
    /// The value of the whole signature. It means nothing when the last task failed: see the documents.
    pub value: Json,
}

/// Runs a signature in this process, with `arguments` in front of its own. A step that fails ends its chain, and the
/// failure is returned as an error, as Celery raises it.
///
/// # Errors
/// As [`Call::apply`](crate::call::call::Call::apply), and [`ErrorKind::TaskFailed`] for a step or a header that failed
/// before the end.
pub async fn apply(app: &App, node: Node, arguments: Arguments) -> Result<EagerResult> {
    let mut node = node.with_settings(app.config());
    let result = node.freeze(WorkflowIds::default(), &mut Ids::random(app.publisher().reply_to().clone()))?;
    let mut documents = Vec::new();
    let value = run_node(app, node, arguments, &mut documents).await?;
    Ok(EagerResult { result, documents, value })
}

/// Runs a node and returns its value.
fn run_node<'a>(
    app: &'a App,
    node: Node,
    arguments: Arguments,
    documents: &'a mut Vec<ResultDocument>,
) -> BoxFuture<'a, Result<Json>> {
    Box::pin(async move {
        match node {
            Node::Task(task) => run_task(app, task, arguments, documents).await,
            Node::Chain(mut chain) => {
                move_links_to_steps(&mut chain);
                let mut arguments = arguments;
                let mut value = Json::NULL;
                let mut step_start = documents.len();
                for step in sendable_steps(chain.steps) {
                    documents[step_start..].iter().try_for_each(check_success)?;
                    step_start = documents.len();
                    value = run_node(app, step, std::mem::take(&mut arguments), documents).await?;
                    arguments = SendWith::result(value.clone()).arguments;
                }
                Ok(value)
            }
            Node::Group(group) => run_group(app, group, arguments, documents).await,
            Node::Chord(ChordNode { header, body, .. }) => {
                let header_start = documents.len();
                let list = run_group(app, header, arguments, documents).await?;
                documents[header_start..].iter().try_for_each(check_success)?;
                run_node(app, *body, SendWith::result(list).arguments, documents).await
            }
        }
    })
}

async fn run_task(
    app: &App,
    task: TaskNode,
    arguments: Arguments,
    documents: &mut Vec<ResultDocument>,
) -> Result<Json> {
    let TaskNode { mut call, immutable, .. } = task;
    if !immutable {
        call.arguments.prepend(arguments);
    }
    let ran = apply_task::<Json>(app, call).await?;
    let Some(document) = ran.cached_document() else { return Ok(Json::NULL) };
    documents.push((*document).clone());
    Ok(document.result.clone())
}

async fn run_group(
    app: &App,
    mut group: GroupNode,
    arguments: Arguments,
    documents: &mut Vec<ResultDocument>,
) -> Result<Json> {
    group.flatten();
    let mut values = Vec::with_capacity(group.members.len());
    for member in group.members {
        values.push(run_node(app, member, arguments.clone(), documents).await?);
    }
    Ok(Json::from_serialize(&values)?)
}

/// Refuses to go on after a task that did not succeed.
fn check_success(document: &ResultDocument) -> Result<()> {
    match document.state.is_ready() {
        true if document.state.propagates() => Err(raised(document)),
        false => {
            let text = format!("go on after task {}: its state is {}", document.task_id, document.state);
            Err(Error::new(ErrorKind::TaskFailed, text))
        }
        true => Ok(()),
    }
}

/// Runs one task in this process and returns its result, which has its document already.
///
/// # Errors
/// [`ErrorKind::NotRegistered`] for an unknown task, [`ErrorKind::Config`] without an eager runner, and with
/// `task_eager_propagates` the failure of the task.
pub(crate) async fn apply_task<T>(app: &App, spec: CallSpec) -> Result<AsyncResult<T>> {
    let Some(task) = app.registry().get(&spec.task).cloned() else {
        return Err(Error::new(
            ErrorKind::NotRegistered,
            format!("run {} in this process: no task of that name is registered in it", spec.task),
        ));
    };
    let Some(runner) = app.eager_runner().cloned() else {
        return Err(Error::new(
            ErrorKind::Config,
            format!(
                "run {} in this process: the app has no eager runner; build apium with the feature `worker`",
                spec.task
            ),
        ));
    };
    let backend = app.backend_for(&task).cloned();
    let prepared = app.publisher().prepare(spec)?;
    let throws = app.config().task_eager_propagates;
    let id: TaskId = prepared.id;
    let document = runner.run(app.clone(), EagerRun::new(task, prepared.outgoing.message, throws)).await?;
    let result = AsyncResult::eager(app, id, backend, document);
    if throws {
        result.raise_if_failed()?;
    }
    Ok(result)
}
