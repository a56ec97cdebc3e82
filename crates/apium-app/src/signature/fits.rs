//! What may stand behind what: the output of one signature and the first argument of the next, and what can be sent by
//! itself.

/// The first argument of a signature that takes whatever comes: of an immutable one, which drops it, and of a task by
/// name, whose arguments nobody checks. There is no value of it.
#[expect(dead_code, reason = "it has no size, so that it is the type of no output; what is in it does not matter")]
pub struct Anything([()]);

/// Says that an output can be the first argument `In` of the next task: it is what that task reads, once it has been
/// encoded.
///
/// A type fits itself and an `Option` of itself, and everything fits [`Anything`]. For types of one's own that read
/// each other's JSON it may be implemented by hand.
///
/// ```
/// # use apium_app::signature::fits::Fits;
/// struct Thumbnail { width: u32, height: u32, path: String }
/// struct Size { width: u32, height: u32 }
///
/// impl Fits<Size> for Thumbnail {}
/// ```
#[diagnostic::on_unimplemented(
    message = "the output of the left task (`{Self}`) does not fit the first argument of the right task (`{In}`)",
    label = "`{Self}` does not fit `{In}`",
    note = "`s` gives all arguments, `p` leaves the first to the task before, `si` ignores the task before",
    note = "behind a group stands a task whose first argument is the list of its results",
    note = "signatures of untyped tasks get their types from `.cast::<In, Out>()`"
)]
pub trait Fits<In: ?Sized> {}

impl<T> Fits<T> for T {}

impl<T> Fits<Option<T>> for T {}

impl<T> Fits<Anything> for T {}

/// Says that a signature with this first argument can be sent by itself: there is none left, or the task takes whatever
/// comes.
#[diagnostic::on_unimplemented(
    message = "the first argument (`{Self}`) of this signature is still to come: it cannot be sent by itself",
    label = "the `{Self}` is missing",
    note = "put it behind a task whose output it takes, or give it with `.partial(value)`"
)]
pub trait Complete: sealed::Sealed {}

impl Complete for () {}

impl Complete for Anything {}

mod sealed {
    use super::Anything;

    pub trait Sealed {}

    impl Sealed for () {}

    impl Sealed for Anything {}
}
