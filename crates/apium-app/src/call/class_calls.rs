//! Calls of task classes: `Add::s((1, 2))` for a type that implements [`Task`].

use crate::call::batch::Batch;
use crate::call::call::Call;
use crate::error::Result;
use crate::signature::fits::Anything;
use crate::signature::group::Group;
use crate::signature::map;
use crate::signature::signature::Signature;
use crate::task::arguments::{ArgumentWriter, Arguments};
use crate::task::class::Task;
use crate::task::into_arguments::{IntoArguments, SplitFirst};

/// How a task class is called. Every [`Task`] has it.
pub trait TaskCalls: Task {
    /// A signature with these arguments (Celery: `s`).
    fn s(args: Self::Args) -> Signature<(), Self::Output> {
        Signature::new(Self::NAME, written(args))
    }

    /// A signature with these arguments after the first one, which comes from the task before it.
    fn p(args: <Self::Args as SplitFirst>::Rest) -> Signature<<Self::Args as SplitFirst>::First, Self::Output>
    where
        Self::Args: SplitFirst,
    {
        Signature::<(), Self::Output>::new(Self::NAME, written(args)).cast()
    }

    /// A signature with these arguments that ignores the value of the task before it (Celery: `si`).
    fn si(args: Self::Args) -> Signature<Anything, Self::Output> {
        Self::s(args).into_immutable()
    }

    /// A call with these arguments (Celery: `delay`). Its methods set options; awaiting it sends it.
    fn delay(args: Self::Args) -> Call<Self::Output> {
        Call::of(Self::s(args))
    }

    /// Many calls that are published together. Each item is a tuple of arguments.
    fn batch(calls: impl IntoIterator<Item = Self::Args>) -> Batch<Self::Output> {
        Batch::of(calls.into_iter().map(Self::s))
    }

    /// One message that runs the task for each item, a tuple of arguments; see [`starmap`](map::starmap).
    fn starmap(items: impl IntoIterator<Item = Self::Args>) -> Signature<Anything, Vec<Self::Output>> {
        map::starmap(Self::NAME, items.into_iter().map(written))
    }

    /// As [`starmap`](Self::starmap), with `size` items in each message; see [`chunks`](map::chunks).
    fn chunks(items: impl IntoIterator<Item = Self::Args>, size: usize) -> Group<Anything, Vec<Self::Output>> {
        map::chunks(Self::NAME, items.into_iter().map(written), size)
    }
}

fn written(args: impl IntoArguments) -> Result<Arguments> {
    args.write(ArgumentWriter::new(4)).finish()
}

impl<T: Task> TaskCalls for T {}
