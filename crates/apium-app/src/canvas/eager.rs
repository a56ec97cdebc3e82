//! Running signatures in the caller's process (Celery: `apply`, `task_always_eager`): one task after the other, the
//! header of a chord before its body.

use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::{ResultDocument, ResultTuple};
use futures_util::future::BoxFuture;

use crate::app::app::App;
use crate::app::eager_runner::EagerRun;
use crate::canvas::freeze::{Ids, WorkflowIds};
use crate::canvas::node::{ChordNode, GroupNode, Node, TaskNode};
use crate::canvas::pipe::settle_links;
use crate::canvas::plan::SendWith;
use crate::canvas::steps::steps;
use crate::error::{Error, ErrorKind, Result};
use crate::publish::prepare::CallSpec;
use crate::result::async_result::{AsyncResult, raised};
use crate::task::arguments::Arguments;

/// What an eager call ran.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EagerResult {
    /// The result, with those before it.
    pub result: ResultTuple,
    /// The documents of all that ran.
    pub documents: Vec<ResultDocument>,
    /// The value of the whole, unless something in it failed.
    pub value: Json,
}

/// Runs a signature in this process. A step of a chain that fails ends it: its failure is returned as an error, as
/// Celery raises it.
///
/// # Errors
/// As [`Call::apply`](crate::call::call::Call::apply), and [`ErrorKind::TaskFailed`] for a step or a header that failed
/// before the end.
pub async fn apply(app: &App, node: Node, arguments: Arguments) -> Result<EagerResult> {
    let mut node = node.under(app.config());
    let result = node.freeze(WorkflowIds::default(), &mut Ids::random(app.publisher().reply_to().clone()))?;
    let mut documents = Vec::new();
    let value = run(app, node, arguments, &mut documents).await?;
    Ok(EagerResult { result, documents, value })
}

/// Runs a node and returns its value.
fn run<'a>(
    app: &'a App,
    node: Node,
    arguments: Arguments,
    documents: &'a mut Vec<ResultDocument>,
) -> BoxFuture<'a, Result<Json>> {
    Box::pin(async move {
        match node {
            Node::Task(task) => run_task(app, task, arguments, documents).await,
            Node::Chain(mut chain) => {
                settle_links(&mut chain);
                let mut arguments = arguments;
                let mut value = Json::NULL;
                let mut began = documents.len();
                for step in steps(chain.steps) {
                    documents[began..].iter().try_for_each(check)?;
                    began = documents.len();
                    value = run(app, step, std::mem::take(&mut arguments), documents).await?;
                    arguments = SendWith::result(value.clone()).arguments;
                }
                Ok(value)
            }
            Node::Group(group) => run_group(app, group, arguments, documents).await,
            Node::Chord(ChordNode { header, body, .. }) => {
                let began = documents.len();
                let list = run_group(app, header, arguments, documents).await?;
                documents[began..].iter().try_for_each(check)?;
                run(app, *body, SendWith::result(list).arguments, documents).await
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
        values.push(run(app, member, arguments.clone(), documents).await?);
    }
    Ok(Json::from_serialize(&values)?)
}

fn check(document: &ResultDocument) -> Result<()> {
    match document.state.is_ready() {
        true if document.state.propagates() => Err(raised(document)),
        false => {
            let text = format!("go on after task {}: it ended as {}", document.task_id, document.state);
            Err(Error::new(ErrorKind::TaskFailed, text))
        }
        true => Ok(()),
    }
}

/// Runs one task in this process. Its result has the document already.
pub(crate) async fn apply_task<T>(app: &App, spec: CallSpec) -> Result<AsyncResult<T>> {
    let Some(task) = app.registry().get(&spec.task).cloned() else {
        return Err(Error::new(
            ErrorKind::NotRegistered,
            format!("run {} here: no task of that name is registered in this program", spec.task),
        ));
    };
    let Some(runner) = app.eager_runner().cloned() else {
        return Err(Error::new(
            ErrorKind::Config,
            format!("run {} here: the app has no eager runner; build it with the feature `worker`", spec.task),
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
