//! A task as an app holds it: its options are resolved, its body and its hooks have no types.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature;
use apium_protocol::result::state::State;
use futures_util::future::BoxFuture;

use crate::context::context::Ctx;
use crate::context::state_map::StateNeed;
use crate::error::{Error, ErrorKind, Result};
use crate::failure::{Failure, Judgement};
use crate::options::effective_options::{EffectiveOptions, TaskDefaults};
use crate::options::task_options::{ErrorMatcher, TaskOptions};
use crate::task::arguments::ParameterList;
use crate::task::foreign::ForeignTask;
use crate::task_error::TaskResult;

/// A task as an app holds it.
#[non_exhaustive]
pub struct RegisteredTask {
    /// The registered name.
    pub name: Arc<str>,
    /// Further names of the task.
    pub aliases: Vec<Arc<str>>,
    /// Its wire parameters.
    pub parameters: ParameterList,
    /// Its options as declared, replaced by those of `task_annotations`. Calls use them (queue, priority, serializer,
    /// …).
    pub options: TaskOptions,
    /// Its options in effect: those above, else the app's settings, else Celery's defaults. Runs use them.
    pub effective: EffectiveOptions,
    /// Its hooks.
    pub hooks: HookSet,
    /// The types of state that it needs.
    pub needs: Vec<StateNeed>,
    /// Whether its function takes `&Ctx`.
    pub takes_ctx: bool,
    /// Its body.
    pub runner: TaskBody,
    /// Where it is defined, for errors and lists: `file:line`, or the type of a task class.
    pub location: String,
}

/// A task's body without types. It binds the arguments of the context's request, runs the function and encodes the
/// result.
#[derive(Clone)]
pub enum TaskBody {
    /// Runs on tokio.
    Async(Arc<dyn Fn(Ctx) -> BoxFuture<'static, TaskResult<Json>> + Send + Sync>),
    /// Runs on the worker's own threads.
    Blocking(Arc<dyn Fn(Ctx) -> TaskResult<Json> + Send + Sync>),
    /// Runs in a child process that has loaded it from a program of another language.
    Foreign {
        /// Its parameters, where a worker may call it as an errback.
        called_with: Option<ParameterList>,
    },
}

/// A hook without types.
pub type HookFn<T, R = ()> = Arc<dyn Fn(Ctx, T) -> BoxFuture<'static, TaskResult<R>> + Send + Sync>;

/// The hooks of a registered task; see [`Hooks`](crate::task::definition::Hooks) for when each is called.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct HookSet {
    /// Runs before the body. Its error fails or retries the task.
    pub before_start: Option<HookFn<()>>,
    /// Runs when SUCCESS is stored. An error of it is logged only.
    pub on_success: Option<HookFn<Json>>,
    /// Runs when FAILURE is stored.
    pub on_failure: Option<HookFn<Failure>>,
    /// Runs when the retry is published and RETRY is stored, with the cause.
    pub on_retry: Option<HookFn<Option<Failure>>>,
    /// May change the signature that replaces the task, and returns it. Its error is the task's.
    pub on_replace: Option<HookFn<Signature, Signature>>,
    /// Runs last, after SUCCESS or FAILURE.
    pub after_return: Option<HookFn<Returned>>,
}

/// What `after_return` gets.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Returned {
    /// SUCCESS or FAILURE.
    pub state: State,
    /// The return value, on success.
    pub result: Option<Json>,
    /// The failure, when there is one (Celery: `einfo`).
    pub failure: Option<Failure>,
}

impl Returned {
    /// A run that returned.
    pub fn success(result: Json) -> Self {
        Self { state: State::Success, result: Some(result), failure: None }
    }

    /// A run that failed.
    pub fn failure(failure: Failure) -> Self {
        Self { state: State::Failure, result: None, failure: Some(failure) }
    }
}

impl HookSet {
    /// Whether the task has no hook.
    pub fn is_empty(&self) -> bool {
        self.before_start.is_none()
            && self.on_success.is_none()
            && self.on_failure.is_none()
            && self.on_retry.is_none()
            && self.on_replace.is_none()
            && self.after_return.is_none()
    }
}

impl RegisteredTask {
    /// The same task, whose options are resolved: `annotation` replaces its own, `defaults` are the app's settings.
    pub(crate) fn with_defaults(mut self, annotation: TaskOptions, defaults: &TaskDefaults) -> Result<Self> {
        self.options = self.options.overlay(annotation);
        self.effective = EffectiveOptions::resolve(&self.options, defaults).map_err(|error| {
            let context = format!("register the task {} (defined at {})", self.name, self.location);
            Error::new(ErrorKind::Config, context).with_source(error)
        })?;
        Ok(self)
    }

    /// Whether the function is a plain `fn`, run on the worker's threads, or a foreign one. Either has its place for
    /// itself.
    pub fn is_blocking(&self) -> bool {
        matches!(self.runner, TaskBody::Blocking(_) | TaskBody::Foreign { .. })
    }

    /// Whether its body is in a program of another language.
    pub fn is_foreign(&self) -> bool {
        matches!(self.runner, TaskBody::Foreign { .. })
    }

    /// Its parameters, where a worker may call it as an errback, with the request, the exception and the traceback. As
    /// in Celery it is no task that has a context.
    pub fn called_with(&self) -> Option<&ParameterList> {
        match &self.runner {
            TaskBody::Foreign { called_with } => called_with.as_ref(),
            TaskBody::Async(_) | TaskBody::Blocking(_) => (!self.takes_ctx).then_some(&self.parameters),
        }
    }

    /// What the options say about a failure: what they said where the body ran, else what they say about its error
    /// type.
    pub fn judgement_of(&self, failure: &Failure) -> Judgement {
        failure.judgement().unwrap_or_else(|| self.judge(failure))
    }

    /// What the options say about a failure, by its Rust error type. Ignores the judgement that the failure has
    /// already, which may follow from the options of another task.
    pub fn judge(&self, failure: &Failure) -> Judgement {
        let named = |matchers: &[ErrorMatcher]| matchers.iter().any(|matcher| self.is_matched(matcher, failure));
        let options = &self.options;
        Judgement {
            autoretry: !named(&options.dont_autoretry_for) && named(&options.autoretry_for),
            expected: named(&options.throws),
            bad_arguments: failure.is_argument_mismatch(),
        }
    }

    /// Whether a matcher of the options matches a failure. One that panics, as it may call code of the app, matches
    /// nothing.
    fn is_matched(&self, matcher: &ErrorMatcher, failure: &Failure) -> bool {
        catch_unwind(AssertUnwindSafe(|| matcher.matches(failure))).unwrap_or_else(|_| {
            let task = &*self.name;
            tracing::error!(
                task,
                "an error matcher of task {task} (autoretry_for, throws) panicked; it matches nothing"
            );
            false
        })
    }
}

/// A foreign task takes any arguments, as far as the worker knows.
const ANY_ARGUMENTS: ParameterList = ParameterList { function: "task", named: &[], var_args: true, var_kwargs: true };

impl From<ForeignTask> for RegisteredTask {
    fn from(task: ForeignTask) -> Self {
        Self {
            name: task.name.into(),
            aliases: Vec::new(),
            parameters: ANY_ARGUMENTS,
            options: task.options,
            effective: EffectiveOptions::default(),
            hooks: HookSet::default(),
            needs: Vec::new(),
            // A soft limit reaches it as a signal.
            takes_ctx: true,
            runner: TaskBody::Foreign { called_with: task.called_with },
            location: task.location,
        }
    }
}

impl fmt::Debug for RegisteredTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisteredTask")
            .field("name", &self.name)
            .field("aliases", &self.aliases)
            .field("options", &self.options)
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}
