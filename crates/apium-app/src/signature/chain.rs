//! Chains and chords by name, and lists of signatures that are known only when the program runs.

use std::sync::Arc;

use crate::canvas::node::Node;
use crate::error::Error;
use crate::signature::fits::Fits;
use crate::signature::group::Group;
use crate::signature::signature::Signature;

/// One after the other (Celery: `chain([…])`), for a list that is known only when the program runs: each takes what it
/// returns. A list with a first task of its own is built by `|=`.
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
    let mut failed: Option<Arc<Error>> = None;
    let steps = steps.into_iter().map(|step| {
        let (node, _, error) = step.into_parts();
        failed = failed.take().or(error);
        node
    });
    let node = Node::chain(steps.collect::<Vec<_>>());
    Signature::of_parts(node, false, failed)
}

/// Tasks side by side and one that runs when all are over, with the list of what they returned (Celery:
/// `chord(header, body)`). The same as `group(header) | body`.
pub fn chord<H: IntoGroup, Next: ?Sized, Out>(header: H, body: Signature<Next, Out>) -> Signature<H::In, Out>
where
    Vec<H::Out>: Fits<Next>,
{
    header.into_group() | body
}

/// What can be the header of a chord: a group, or a list of signatures.
pub trait IntoGroup {
    /// What the members take from the task before.
    type In: ?Sized;
    /// What they return.
    type Out;

    /// The group.
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

/// One after the other: `chain![a, b, c]` is `a | b | c`.
#[doc(hidden)]
#[macro_export]
macro_rules! __chain {
    ($first:expr $(, $next:expr)* $(,)?) => {
        $first $(| $next)*
    };
}

/// Side by side: `group![a, b]` is `group([a, b])`.
#[doc(hidden)]
#[macro_export]
macro_rules! __group {
    ($($member:expr),* $(,)?) => {
        $crate::signature::group::group([$($member),*])
    };
}

#[doc(inline)]
pub use crate::{__chain as chain, __group as group};
