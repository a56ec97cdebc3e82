//! A task as `#[task]` defines it: name, parameters, options, hooks and the erased function.

use std::sync::Arc;

use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature;
use futures_util::future::BoxFuture;

use crate::context::context::Ctx;
pub use crate::context::state_map::StateNeed;
use crate::failure::Failure;
use crate::options::effective_options::EffectiveOptions;
use crate::options::task_options::TaskOptions;
use crate::task::arguments::ParameterList;
pub use crate::task::registered::Returned;
use crate::task::registered::{HookFn, HookSet, RegisteredTask, TaskBody};
use crate::task_error::TaskResult;

/// The definition that `#[task]` makes of a function.
pub struct TaskDef {
    /// The registered name.
    pub name: &'static str,
    /// Further names of the task.
    pub aliases: &'static [&'static str],
    /// Its wire parameters.
    pub parameters: ParameterList,
    /// Its options. It is called once for each app, when the registry is built.
    pub options: fn() -> TaskOptions,
    /// Its hooks.
    pub hooks: Hooks,
    /// The types of state that its parameters need, `None` for an injected parameter without state.
    pub needs: &'static [Option<StateNeed>],
    /// Whether the function takes `&Ctx`.
    pub takes_ctx: bool,
    /// The function.
    pub run: TaskFn,
    /// Where it was defined, as `file:line`.
    pub location: &'static str,
}

/// The type that `#[task]` makes beside the function, with the function's name. `app.register::<add>()` takes it.
pub trait TaskType: 'static {
    /// What the task returns.
    type Output;
    /// Its wire parameters, as a tuple.
    type Args;

    /// The task's definition.
    fn def() -> &'static TaskDef;
}

/// An entry of `inventory`, by which `#[task]` functions are found without being named (feature `autodiscover`).
#[cfg(feature = "autodiscover")]
pub struct TaskEntry(pub &'static TaskDef);

#[cfg(feature = "autodiscover")]
inventory::collect!(TaskEntry);

/// The function of a static definition. It binds the arguments of the context's request, runs the body and encodes the
/// result.
#[derive(Clone, Copy)]
pub enum TaskFn {
    /// Runs on tokio.
    Async(fn(Ctx) -> BoxFuture<'static, TaskResult<Json>>),
    /// Runs on the worker's own threads.
    Blocking(fn(Ctx) -> TaskResult<Json>),
}

/// A hook of a task: it gets the context and what happened, and the worker awaits it. Only `before_start` and
/// `on_replace` can end the task.
pub type Hook<T, R = ()> = fn(Ctx, T) -> BoxFuture<'static, TaskResult<R>>;

/// The hooks of a static definition. On success the order is: `before_start`, the body, SUCCESS is stored,
/// `on_success`, `after_return`.
#[derive(Clone, Copy)]
pub struct Hooks {
    /// Runs before the body. Its error fails or retries the task.
    pub before_start: Option<Hook<()>>,
    /// Runs when SUCCESS is stored. An error of it is logged only.
    pub on_success: Option<Hook<Json>>,
    /// Runs when FAILURE is stored.
    pub on_failure: Option<Hook<Failure>>,
    /// Runs when the retry is published and RETRY is stored, with the cause.
    pub on_retry: Option<Hook<Option<Failure>>>,
    /// May change the signature that replaces the task, and returns it.
    pub on_replace: Option<Hook<Signature, Signature>>,
    /// Runs last, after SUCCESS or FAILURE.
    pub after_return: Option<Hook<Returned>>,
}

impl Hooks {
    /// No hooks.
    pub const NONE: Self = Self {
        before_start: None,
        on_success: None,
        on_failure: None,
        on_retry: None,
        on_replace: None,
        after_return: None,
    };
}

impl std::fmt::Debug for TaskDef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TaskDef({} at {})", self.name, self.location)
    }
}

impl From<Hooks> for HookSet {
    fn from(hooks: Hooks) -> Self {
        fn erased<T: 'static, R: 'static>(hook: Hook<T, R>) -> HookFn<T, R> {
            Arc::new(hook)
        }
        Self {
            before_start: hooks.before_start.map(erased),
            on_success: hooks.on_success.map(erased),
            on_failure: hooks.on_failure.map(erased),
            on_retry: hooks.on_retry.map(erased),
            on_replace: hooks.on_replace.map(erased),
            after_return: hooks.after_return.map(erased),
        }
    }
}

impl From<TaskFn> for TaskBody {
    fn from(run: TaskFn) -> Self {
        match run {
            TaskFn::Async(run) => Self::Async(Arc::new(run)),
            TaskFn::Blocking(run) => Self::Blocking(Arc::new(run)),
        }
    }
}

impl RegisteredTask {
    /// A `#[task]` function as the registry holds it. Its options are not resolved yet.
    pub(crate) fn from_def(def: &'static TaskDef) -> Self {
        Self {
            name: def.name.into(),
            aliases: def.aliases.iter().copied().map(Arc::from).collect(),
            parameters: def.parameters,
            options: (def.options)(),
            effective: EffectiveOptions::default(),
            hooks: def.hooks.into(),
            needs: def.needs.iter().copied().flatten().collect(),
            takes_ctx: def.takes_ctx,
            runner: def.run.into(),
            location: def.location.to_owned(),
        }
    }
}
