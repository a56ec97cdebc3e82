//! The functions `chain` and `chord`, for lists of signatures that are known only at run time, and the macros `chain!`
//! and `group!`.

use std::sync::Arc;

use crate::canvas::node::Node;
use crate::error::Error;
use crate::signature::fits::Fits;
use crate::signature::group::Group;
use crate::signature::signature::Signature;

/// Tasks one after the other (Celery: `chain([…])`), for a list that is known only at run time: all take and return the
/// same type. Where the first task has another type, begin with it and add the others with `|=`.
///
/// ```
/// # use apium_app::signature::chain::chain;
/// # use apium_app::signature::signature::Signature;
/// # fn filters(blur: Signature<Vec<u8>, Vec<u8>>, sharpen: Signature<Vec<u8>, Vec<u8>>, image: Vec<u8>) {
/// let filters: Signature<Vec<u8>, Vec<u8>> = chain([blur, sharpen]);
/// let call: Signature<(), Vec<u8>> = filters.partial(image);
/// # }
/// ```
pub fn chain<T>(steps: impl IntoIterator<Item = Signature<T, T>>) -> Signature<T, T> {
    let mut first_error: Option<Arc<Error>> = None;
    let steps = steps.into_iter().map(|step| {
        let (node, _, error) = step.into_parts();
        first_error = first_error.take().or(error);
        node
    });
    let node = Node::chain(steps.collect::<Vec<_>>());
    Signature::of_parts(node, false, first_error)
}

/// Tasks side by side, and a body that runs when all have succeeded, with the list of their results (Celery:
/// `chord(header, body)`). It is the same as `group(header) | body`.
pub fn chord<H: IntoGroup, Next: ?Sized, Out>(header: H, body: Signature<Next, Out>) -> Signature<H::In, Out>
where
    Vec<H::Out>: Fits<Next>,
{
    header.into_group() | body
}

/// What can be the header of a chord: a group, or a list of signatures.
pub trait IntoGroup {
    /// The type that each member takes from the task before.
    type In: ?Sized;
    /// The type that each member returns.
    type Out;

    /// The group of these members.
    fn into_group(self) -> Group<Self::In, Self::Out>;
}

impl<In: ?Sized, Out> IntoGroup for Group<In, Out> {
    type In = In;
    type Out = Out;

    fn into_group(self) -> Self {
        self
    }
}

impl<In: ?Sized, Out, I: IntoIterator<Item = Signature<In, Out>>> IntoGroup for I {
    type In = In;
    type Out = Out;

    fn into_group(self) -> Group<In, Out> {
        self.into_iter().collect()
    }
}

/// Tasks one after the other: `chain![a, b, c]` is `a | b | c`.
#[doc(hidden)]
#[macro_export]
macro_rules! __chain {
    ($first:expr $(, $next:expr)* $(,)?) => {
        $first $(| $next)*
    };
}

/// Tasks side by side: `group![a, b]` is `group([a, b])`.
#[doc(hidden)]
#[macro_export]
macro_rules! __group {
    ($($member:expr),* $(,)?) => {
        $crate::signature::group::group([$($member),*])
    };
}

#[doc(inline)]
pub use crate::{__chain as chain, __group as group};
