//! Calling task classes: `Add::s((1, 2))` for a type that implements [`Task`].

use crate::arguments::ArgumentWriter;
use crate::batch::Batch;
use crate::call::Call;
use crate::signature::Signature;
use crate::task_impl::Task;
use crate::wire_args::IntoArguments;

/// How a task class is called; every [`Task`] has it.
pub trait TaskCalls: Task {
    /// A signature with these arguments.
    fn s(args: Self::Args) -> Signature<Self::Output> {
        Signature::new(Self::NAME, args.write(ArgumentWriter::new(Self::PARAMETERS.len())).finish())
    }

    /// A call with these arguments.
    fn delay(args: Self::Args) -> Call<Self::Output> {
        Call::of(Self::s(args))
    }

    /// Many calls, sent together.
    fn batch(calls: impl IntoIterator<Item = Self::Args>) -> Batch<Self::Output> {
        Batch::of(calls.into_iter().map(Self::s))
    }
}

impl<T: Task> TaskCalls for T {}
