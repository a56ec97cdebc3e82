//! Tuples as the positional arguments of a call, in both directions.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::context::Ctx;
use crate::task::arguments::{Args, ArgumentWriter, Parameter, ParameterList};
use crate::task::binding::Bound;
use crate::task_error::TaskResult;

/// Positional arguments of a call: a tuple of up to eight values, or [`Args`].
pub trait IntoArguments {
    /// Adds them to the call's arguments.
    fn write(self, writer: ArgumentWriter) -> ArgumentWriter;
}

/// Arguments of a task class: a tuple of up to eight values.
pub trait FromArguments: Sized + Send + 'static {
    /// The parameters of a task class that names none itself: `arg0`, `arg1`, …
    const PARAMETERS: &'static [Parameter];

    /// Binds the arguments of the context's request.
    ///
    /// # Errors
    /// A failure of class `builtins.TypeError`, as with [`Bound`].
    fn read(list: &ParameterList, ctx: &Ctx) -> TaskResult<Self>;
}

impl IntoArguments for Args {
    fn write(self, writer: ArgumentWriter) -> ArgumentWriter {
        writer.rest(self)
    }
}

/// A tuple of at least one argument, as the first one and the others.
pub trait SplitFirst {
    /// The type of the first.
    type First;
    /// The tuple of the others.
    type Rest: IntoArguments;
}

macro_rules! split_first {
    ($(($first:ident $($rest:ident)*))+) => {$(
        impl<$first, $($rest: Serialize),*> SplitFirst for ($first, $($rest,)*) {
            type First = $first;
            type Rest = ($($rest,)*);
        }
    )+};
}

split_first! {
    (A)
    (A B)
    (A B C)
    (A B C D)
    (A B C D E)
    (A B C D E F)
    (A B C D E F G)
    (A B C D E F G H)
}

macro_rules! tuples {
    ($($count:literal: [$($index:tt $name:literal $type:ident)*])*) => {$(
        impl<$($type: Serialize,)*> IntoArguments for ($($type,)*) {
            fn write(self, writer: ArgumentWriter) -> ArgumentWriter {
                writer$(.arg(&self.$index))*
            }
        }

        impl<$($type: DeserializeOwned + Send + 'static,)*> FromArguments for ($($type,)*) {
            const PARAMETERS: &'static [Parameter] = &[$(Parameter::required($name),)*];

            fn read(list: &ParameterList, ctx: &Ctx) -> TaskResult<Self> {
                let _bound = Bound::<$count>::of(list, ctx)?;
                Ok(($(_bound.nullable::<$type>($index)?,)*))
            }
        }
    )*};
}

tuples! {
    0: []
    1: [0 "arg0" A]
    2: [0 "arg0" A 1 "arg1" B]
    3: [0 "arg0" A 1 "arg1" B 2 "arg2" C]
    4: [0 "arg0" A 1 "arg1" B 2 "arg2" C 3 "arg3" D]
    5: [0 "arg0" A 1 "arg1" B 2 "arg2" C 3 "arg3" D 4 "arg4" E]
    6: [0 "arg0" A 1 "arg1" B 2 "arg2" C 3 "arg3" D 4 "arg4" E 5 "arg5" F]
    7: [0 "arg0" A 1 "arg1" B 2 "arg2" C 3 "arg3" D 4 "arg4" E 5 "arg5" F 6 "arg6" G]
    8: [0 "arg0" A 1 "arg1" B 2 "arg2" C 3 "arg3" D 4 "arg4" E 5 "arg5" F 6 "arg6" G 7 "arg7" H]
}
