//! `|` and `|=`: what stands behind what. The right side takes the output of the left one, which [`Fits`] checks.
//!
//! | left | right | together |
//! |---|---|---|
//! | signature | signature | a signature: one after the other |
//! | signature | group, join | a group, a join: all of them after the signature |
//! | group | signature | a signature: the right one after all of the left, with their results as a list (a chord) |
//! | join | signature | the same, with their results as a tuple |
//! | group, join | group, join | those on the right after all of the left |

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
        let (left, whole, failed) = self.into_parts();
        let (mut right, complete, failed_too) = right.into_parts();
        // A task that has all its arguments takes none; the types let it stand behind one that returns nothing.
        if complete {
            right.set_immutable(true);
        }
        Signature::of_parts(left.pipe(right), whole, failed.or(failed_too))
    }
}

impl<In: ?Sized, Next: ?Sized, Out> BitOrAssign<Signature<Next, Out>> for Signature<In, Out>
where
    Out: Fits<Next>,
{
    fn bitor_assign(&mut self, right: Signature<Next, Out>) {
        let nothing = Signature::of_node(Node::Chain(ChainNode::default()));
        *self = std::mem::replace(self, nothing) | right;
    }
}

/// `left | right` where either is a group or a join.
macro_rules! pipes {
    ($($left:ty, $right:ty => $output:ty, if $list:ty: |$a:ident, $b:ident| $joined:expr;)+) => {$(
        impl<In: ?Sized, Mid, Next: ?Sized, Out> BitOr<$right> for $left
        where
            $list: Fits<Next>,
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
    Signature<In, Mid>, Group<Next, Out> => Group<In, Out>, if Mid: |left, right| Group::of(right.inner.behind(left));
    Signature<In, Mid>, Join<Next, Out> => Join<In, Out>, if Mid: |left, right| Join::of(right.inner.behind(left));
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
        let nothing = Group::of(Parallel::default());
        *self = std::mem::replace(self, nothing) | right;
    }
}
