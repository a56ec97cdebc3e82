//! The operators `|` and `|=`. The right side takes the output of the left one, which [`Fits`] checks.
//!
//! | left | right | together |
//! |---|---|---|
//! | signature | signature | a signature: the right one after the left one |
//! | signature | group, join | a group or a join, all of it after the signature |
//! | group | signature | a chord: the right one runs after the whole group, with the list of its results |
//! | join | signature | a chord: the right one runs after the whole join, with the tuple of its results |
//! | group, join | group, join | a group or a join: each member on the right runs after all members on the left |

use std::ops::{BitOr, BitOrAssign};

use crate::canvas::node::{ChainNode, Node};
use crate::signature::fits::Fits;
use crate::signature::group::Group;
use crate::signature::join::Join;
use crate::signature::parallel::Parallel;
use crate::signature::signature::Signature;

impl<In: ?Sized, Mid, Next: ?Sized, Out> BitOr<Signature<Next, Out>> for Signature<In, Mid>
where
    Mid: Fits<Next>,
{
    type Output = Signature<In, Out>;

    fn bitor(self, right: Signature<Next, Out>) -> Signature<In, Out> {
        let (left, complete, error) = self.into_parts();
        let (mut right, right_complete, right_error) = right.into_parts();
        // A task that has all its arguments ignores the result before it. By its type, that result is `()`.
        if right_complete {
            right.set_immutable(true);
        }
        Signature::of_parts(left.pipe(right), complete, error.or(right_error))
    }
}

impl<In: ?Sized, Next: ?Sized, Out> BitOrAssign<Signature<Next, Out>> for Signature<In, Out>
where
    Out: Fits<Next>,
{
    fn bitor_assign(&mut self, right: Signature<Next, Out>) {
        let empty = Signature::of_node(Node::Chain(ChainNode::default()));
        *self = std::mem::replace(self, empty) | right;
    }
}

/// `left | right` where either is a group or a join.
macro_rules! pipes {
    ($($left:ty, $right:ty => $output:ty, if $output_of_left:ty: |$a:ident, $b:ident| $joined:expr;)+) => {$(
        impl<In: ?Sized, Mid, Next: ?Sized, Out> BitOr<$right> for $left
        where
            $output_of_left: Fits<Next>,
        {
            type Output = $output;

            fn bitor(self, right: $right) -> $output {
                let ($a, $b) = (self, right);
                $joined
            }
        }
    )+};
}

pipes! {
    Signature<In, Mid>, Group<Next, Out> => Group<In, Out>, if Mid: |left, right| Group::of(right.inner.after(left));
    Signature<In, Mid>, Join<Next, Out> => Join<In, Out>, if Mid: |left, right| Join::of(right.inner.after(left));
    Group<In, Mid>, Signature<Next, Out> => Signature<In, Out>, if Vec<Mid>: |left, right| left.inner.chord(right);
    Group<In, Mid>, Group<Next, Out> => Group<In, Out>, if Vec<Mid>: |left, right| Group::of(left.inner.then(right.inner));
    Group<In, Mid>, Join<Next, Out> => Join<In, Out>, if Vec<Mid>: |left, right| Join::of(left.inner.then(right.inner));
    Join<In, Mid>, Signature<Next, Out> => Signature<In, Out>, if Mid: |left, right| left.inner.chord(right);
    Join<In, Mid>, Group<Next, Out> => Group<In, Out>, if Mid: |left, right| Group::of(left.inner.then(right.inner));
    Join<In, Mid>, Join<Next, Out> => Join<In, Out>, if Mid: |left, right| Join::of(left.inner.then(right.inner));
}

impl<In: ?Sized, Next: ?Sized, Out> BitOrAssign<Group<Next, Out>> for Group<In, Out>
where
    Vec<Out>: Fits<Next>,
{
    fn bitor_assign(&mut self, right: Group<Next, Out>) {
        let empty = Group::of(Parallel::default());
        *self = std::mem::replace(self, empty) | right;
    }
}
