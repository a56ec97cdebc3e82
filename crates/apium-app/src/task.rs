//! A task as the registry holds it: name, parameters, options, hooks and the erased function.

use std::any::TypeId;
use std::borrow::Cow;
use std::sync::Arc;

use apium_protocol::json::Json;
use apium_protocol::state::State;
use futures_util::future::BoxFuture;

use crate::arguments::{Arguments, ParameterList};
use crate::context::Ctx;
use crate::failure::Failure;
use crate::options::TaskOptions;
use crate::task_error::TaskResult;

/// What `#[task]` leaves behind for one function.
pub struct TaskDef {
    /// The registered name.
    pub name: &'static str,
    /// Other names it answers to.
    pub aliases: &'static [&'static str],
    /// Its wire parameters.
    pub parameters: ParameterList,
    /// Its options.
    pub options: TaskOptions,
    /// Its hooks.
    pub hooks: Hooks,
    /// The types of state it takes.
    pub needs: &'static [StateNeed],
    /// Whether the function takes `&Ctx`.
    pub takes_ctx: bool,
    /// The function.
    pub run: TaskFn,
}

/// An `inventory` entry: how `#[task]` functions are found without being named (feature `autodiscover`).
pub struct TaskEntry(pub &'static TaskDef);

inventory::collect!(TaskEntry);

/// A type of state that a task takes; the worker refuses to start without it.
#[derive(Debug, Clone, Copy)]
pub struct StateNeed {
    /// The type's name, for the error.
    pub name: &'static str,
    /// The type.
    pub type_id: fn() -> TypeId,
}

/// An erased task function of a static definition.
#[derive(Clone, Copy)]
pub enum TaskFn {
    /// Runs on tokio.
    Async(fn(Ctx, Arguments) -> BoxFuture<'static, TaskResult<Json>>),
    /// Runs on the worker's own threads.
    Blocking(fn(Ctx, Arguments) -> TaskResult<Json>),
}

/// An erased task body as the registry holds it.
#[derive(Clone)]
pub enum Runner {
    /// Runs on tokio.
    Async(Arc<dyn Fn(Ctx, Arguments) -> BoxFuture<'static, TaskResult<Json>> + Send + Sync>),
    /// Runs on the worker's own threads.
    Blocking(Arc<dyn Fn(Ctx, Arguments) -> TaskResult<Json> + Send + Sync>),
}

/// A hook of a task: called with the context and what happened, awaited by the worker; only `before_start` can end the task.
pub type Hook<T> = fn(Ctx, T) -> BoxFuture<'static, TaskResult<()>>;

/// The hooks of a static definition. Order on success: before_start, body, SUCCESS stored, on_success, after_return.
#[derive(Clone, Copy)]
pub struct Hooks {
    /// Before the body; an error here fails or retries the task.
    pub before_start: Option<Hook<()>>,
    /// After SUCCESS is stored. What it returns is logged only.
    pub on_success: Option<Hook<Json>>,
    /// After FAILURE is stored.
    pub on_failure: Option<Hook<Failure>>,
    /// After the retry is published and RETRY stored; with the cause.
    pub on_retry: Option<Hook<Option<Failure>>>,
    /// After SUCCESS or FAILURE, last.
    pub after_return: Option<Hook<Returned>>,
}

impl Hooks {
    /// No hooks.
    pub const NONE: Self =
        Self { before_start: None, on_success: None, on_failure: None, on_retry: None, after_return: None };
}

/// What `after_return` is told.
#[derive(Debug, Clone)]
pub struct Returned {
    /// SUCCESS or FAILURE.
    pub state: State,
    /// The return value, on success.
    pub result: Option<Json>,
    /// The failure, when there is one (the guide's `einfo`).
    pub failure: Option<Failure>,
}
