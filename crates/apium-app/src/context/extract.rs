//! Parameters of a task that are not in the message: they are made of the context when the task runs.

use std::ops::{Deref, DerefMut};

use crate::context::context::Ctx;
use crate::task::definition::StateNeed;
use crate::task_error::{TaskError, TaskResult};

/// A type that is made of the context. A parameter with `#[inject]` has such a type.
///
/// ```
/// # use apium_app::context::{context::Ctx, extract::FromContext, state_map::StateNeed};
/// # use apium_app::task_error::TaskResult;
/// struct Greeting(String);
/// struct Language(&'static str);
///
/// impl FromContext for Greeting {
///     const NEED: Option<StateNeed> = Some(StateNeed::of::<Language>());
///
///     fn from_context(ctx: &Ctx) -> TaskResult<Self> {
///         let language = ctx.state::<Language>().map_or("en", |language| language.0);
///         Ok(Self(if language == "fr" { "salut".into() } else { "hello".into() }))
///     }
/// }
/// # assert_eq!(Greeting::from_context(&Ctx::direct()).unwrap_or(Greeting(String::new())).0, "hello");
/// ```
pub trait FromContext: Sized {
    /// The state that it needs, if any. Without it the worker refuses to start, and names the task.
    const NEED: Option<StateNeed> = None;

    /// The parameter's value. It is made before the task's body and where the body runs. An error ends the task.
    ///
    /// # Errors
    /// Any error ends the task as if the body returned it.
    fn from_context(ctx: &Ctx) -> TaskResult<Self>;
}

/// A value that was added to the app by `AppBuilder::state`, cloned for this run. It is not in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State<T>(pub T);

impl<T: Clone + Send + Sync + 'static> FromContext for State<T> {
    const NEED: Option<StateNeed> = Some(StateNeed::of::<T>());

    fn from_context(ctx: &Ctx) -> TaskResult<Self> {
        match ctx.states().get::<T>() {
            Some(value) => Ok(Self(value.clone())),
            None => Err(TaskError::failure(format!(
                "the app has no state of type {}; add it with AppBuilder::state",
                std::any::type_name::<T>()
            ))),
        }
    }
}

impl FromContext for Ctx {
    fn from_context(ctx: &Ctx) -> TaskResult<Self> {
        Ok(ctx.clone())
    }
}

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for State<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
