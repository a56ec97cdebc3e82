//! The tasks that every app has: Celery's `celery.map`, `celery.starmap`, `celery.chunks`, `celery.group`,
//! `celery.accumulate` and `celery.backend_cleanup`, and Apium's `apium.chord_part`. A task of the app with the same
//! name replaces one.

use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use futures_util::future::BoxFuture;

use crate::app::app::App;
use crate::canvas::eager::apply_task;
use crate::canvas::node::{GroupNode, Node};
use crate::canvas::plan::SendWith;
use crate::canvas::send::{send, send_with};
use crate::context::context::Ctx;
use crate::error::{Error, ErrorKind};
use crate::options::task_options::TaskOptions;
use crate::result::async_result::failure_of;
use crate::task::argument_codec::{argument_codec, encode};
use crate::task::arguments::{Arguments, Parameter, ParameterList};
use crate::task::binding::Bound;
use crate::task::definition::{Hooks, TaskDef, TaskFn};
use crate::task_error::TaskResult;

/// All of them.
pub(crate) static BUILTIN_TASKS: &[TaskDef] = &[
    builtin("celery.map", MAP, |ctx| Box::pin(map(ctx, false))),
    builtin("celery.starmap", MAP, |ctx| Box::pin(map(ctx, true))),
    builtin("celery.chunks", CHUNKS, |ctx| Box::pin(chunks(ctx))),
    builtin("celery.group", GROUP, |ctx| Box::pin(group(ctx))),
    builtin("celery.accumulate", ACCUMULATE, |ctx| Box::pin(async move { accumulate(&ctx) })),
    builtin("celery.backend_cleanup", NOTHING, |ctx| Box::pin(cleanup(ctx))),
    TaskDef {
        options: || TaskOptions {
            acks_late: Some(true),
            ignore_result: Some(true),
            store_errors_even_if_ignored: Some(false),
            ..TaskOptions::NEW
        },
        // The worker counts the part when the run ends.
        ..builtin(CHORD_PART, PART, |_| Box::pin(async { Ok(Json::NULL) }))
    },
];

/// The name of the task that counts a part of a chord once more, and sends the body if it is the last part. A worker
/// sends it for a part whose message was acknowledged before the run, in case the worker dies before it sends the body.
/// Workers of Celery do not have this task: where they consume the same queue, route it to another one.
pub const CHORD_PART: &str = "apium.chord_part";

/// The parameters of [`CHORD_PART`].
const PART: &[Parameter] = &[
    Parameter::required("group"),
    Parameter::required("task_id"),
    Parameter::required("group_index"),
    Parameter::required("state"),
    Parameter::required("result"),
    Parameter::required("body"),
];

const MAP: &[Parameter] = &[Parameter::required("task"), Parameter::required("it")];
const CHUNKS: &[Parameter] = &[Parameter::required("task"), Parameter::required("it"), Parameter::required("n")];
const GROUP: &[Parameter] = &[
    Parameter::required("tasks"),
    Parameter::required("result"),
    Parameter::required("group_id"),
    Parameter::required("partial_args"),
    Parameter::optional("add_to_parent"),
];
const ACCUMULATE: &[Parameter] = &[];
const NOTHING: &[Parameter] = &[];

type Run = fn(Ctx) -> BoxFuture<'static, TaskResult<Json>>;

const fn builtin(name: &'static str, named: &'static [Parameter], run: Run) -> TaskDef {
    let any_arguments = named.is_empty();
    TaskDef {
        name,
        aliases: &[],
        parameters: ParameterList { function: name, named, var_args: any_arguments, var_kwargs: any_arguments },
        options: || TaskOptions::NEW,
        hooks: Hooks::NONE,
        needs: &[],
        takes_ctx: true,
        run: TaskFn::Async(run),
        location: "built in",
    }
}

fn parameters(named: &'static [Parameter]) -> ParameterList {
    ParameterList { function: "task", named, var_args: false, var_kwargs: false }
}

fn app(ctx: &Ctx) -> TaskResult<App> {
    let app = ctx.publisher().and_then(App::of_publisher);
    app.ok_or_else(|| Error::new(ErrorKind::NoCurrentApp, "run a built-in task: the app is gone").into())
}

/// Runs the inner task for each item, one after the other, in this slot. The first failure is the failure of the map.
async fn map(ctx: Ctx, spread: bool) -> TaskResult<Json> {
    let list = parameters(MAP);
    let (task, items) = {
        let bound = Bound::<'_, 2>::of(&list, &ctx)?;
        (bound.required::<WireSignature>(&argument_codec(), 0)?, bound.required::<Vec<Json>>(&argument_codec(), 1)?)
    };
    let app = app(&ctx)?;
    let mut values = Vec::with_capacity(items.len());
    for item in items {
        let args = if spread { item.decode::<Vec<Json>>()? } else { vec![item] };
        let Node::Task(mut inner) = Node::from_wire(&task)? else {
            return Err(Error::new(ErrorKind::Call, format!("map {}: it is not a plain task", task.task)).into());
        };
        inner.call.arguments = Arguments { args, kwargs: Vec::new() };
        inner.call.options = Default::default();
        let ran = apply_task::<Json>(&app, inner.call).await?;
        let Some(document) = ran.cached_document() else { continue };
        if document.state.propagates() {
            return Err(failure_of(&document).into());
        }
        values.push(document.result.clone());
    }
    encode(values)
}

/// Sends the chunks as a group of `celery.starmap`. Its value is the result of the group.
async fn chunks(ctx: Ctx) -> TaskResult<Json> {
    let Some(publisher) = ctx.publisher() else { return encode(Json::NULL) };
    let body = &ctx.request().body;
    let names = CHUNKS.iter().map(|parameter| parameter.name.to_owned());
    let mut wire = WireSignature::new("celery.chunks");
    wire.kwargs = names.zip(body.args.iter().cloned()).chain(body.kwargs.iter().cloned()).collect();
    wire.subtask_type = Some("chunks".to_owned());
    let app = App::of_publisher(publisher);
    let app = app.ok_or_else(|| Error::new(ErrorKind::NoCurrentApp, "send chunks: the app is gone"))?;
    encode(send(&app, Node::from_wire(&wire)?).await?)
}

/// Sends tasks that are frozen already. Very old clients send groups in this way.
async fn group(ctx: Ctx) -> TaskResult<Json> {
    let list = parameters(GROUP);
    let (tasks, result, id, args) = {
        let bound = Bound::<'_, 5>::of(&list, &ctx)?;
        (
            bound.required::<Vec<WireSignature>>(&argument_codec(), 0)?,
            bound.required::<Json>(&argument_codec(), 1)?,
            bound.required::<String>(&argument_codec(), 2)?,
            bound.required::<Vec<Json>>(&argument_codec(), 3)?,
        )
    };
    let members = tasks.iter().map(Node::from_wire).collect::<Result<_, _>>()?;
    let mut group = GroupNode { members, options: Default::default() };
    group.options.task_id = Some(id.into());
    let arguments = Arguments { args, kwargs: Vec::new() };
    send_with(&app(&ctx)?, Node::Group(group), SendWith { arguments, ..SendWith::default() }).await?;
    encode(result)
}

/// Returns the argument at `index`, or all arguments.
fn accumulate(ctx: &Ctx) -> TaskResult<Json> {
    let request = ctx.request();
    let index = request.kwargs().iter().find(|(name, value)| name == "index" && !value.is_null());
    match index {
        None => Ok(request.args_json()),
        Some((_, index)) => {
            let index: usize = index.decode()?;
            let argument = request.args().get(index).cloned();
            argument.ok_or_else(|| {
                crate::task_error::TaskError::of_class("builtins.IndexError", "tuple index out of range")
            })
        }
    }
}

/// Deletes expired results, where the store does not do that itself.
async fn cleanup(ctx: Ctx) -> TaskResult<Json> {
    if let Some(stored) = ctx.backend().and_then(|backend| backend.stored()) {
        stored.purge_expired().await?;
    }
    Ok(Json::NULL)
}
