//! Reading the arguments of a call with the types of the task, for tests and for code that inspects messages.

use crate::context::context::Ctx;
use crate::task::arguments::ParameterList;
use crate::task::class::{self, Task};
use crate::task::into_arguments::FromArguments;
use crate::task_error::TaskResult;

/// A task whose arguments can be read with their types: a `#[task]` function, a task that `extern_task!` describes, and
/// every task class.
pub trait ReadArguments: 'static {
    /// The registered name.
    const NAME: &'static str;

    /// The arguments of a call, as the tuple that `batch` takes.
    type Args;

    /// Reads the arguments of the context's request.
    ///
    /// # Errors
    /// A failure of class `builtins.TypeError`, as [`Bound`](crate::task::binding::Bound) words it.
    fn read(ctx: &Ctx) -> TaskResult<Self::Args>;
}

impl<T: Task> ReadArguments for T {
    const NAME: &'static str = T::NAME;
    type Args = T::Args;

    fn read(ctx: &Ctx) -> TaskResult<T::Args> {
        let parameters: ParameterList = class::parameters::<T>();
        T::Args::read(&parameters, ctx)
    }
}
