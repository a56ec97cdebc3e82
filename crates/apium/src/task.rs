//! Tasks: the types that go with [`#[task]`](macro@crate::task). They are the context of a run, state, options, errors,
//! retries, and task classes.

pub use apium_app::context::context::Ctx;
pub use apium_app::context::current::{allow_join, allow_join_blocking, get as current, is_blocking, may_join};
pub use apium_app::context::deferred::Deferred;
pub use apium_app::context::extract::{FromContext, State};
pub use apium_app::context::limit_signal::LimitSignal;
pub use apium_app::context::request::{DeliveryInfo, Request, RetryRequest};
pub use apium_app::context::state_map::{StateMap, StateNeed};
pub use apium_app::failure::{Failure, Judgement, WireError};
pub use apium_app::options::effective_options::{EffectiveOptions, TaskDefaults};
pub use apium_app::options::rate_limit::RateLimit;
pub use apium_app::options::task_options::{Backoff, ErrorMatcher, TaskOptions};
pub use apium_app::retry::builder::{OrRetry, RetryBuilder};
pub use apium_app::retry::policy::NextRun;
pub use apium_app::task::arguments::{Args, ArgumentWriter, Arguments, Keyword, Kwargs, Parameter, ParameterList};
pub use apium_app::task::class::Task;
pub use apium_app::task::definition::{Hook, Hooks, TaskDef, TaskFn, TaskType};
pub use apium_app::task::into_arguments::{FromArguments, IntoArguments, SplitFirst};
pub use apium_app::task::read_arguments::ReadArguments;
pub use apium_app::task::registered::{HookFn, HookSet, RegisteredTask, Returned, TaskBody};
pub use apium_app::task::registry::Registry;
pub use apium_app::task_error::{IntoFailure, OrFail, TaskError, TaskErrorKind, TaskResult};
