//! Which signature may follow which ([`Fits`]), and which can be sent by itself ([`Complete`]).

/// The first argument of a signature that may follow any task: an immutable one, which ignores the result before it, or
/// a task by name, whose arguments are not checked. There is no value of this type.
#[expect(dead_code, reason = "the field only makes the type unsized, so that no output can have it")]
pub struct Anything([()]);

/// An output that can be the first argument `In` of the next task, because that task can read its JSON.
///
/// A type fits itself and an `Option` of itself, and every type fits [`Anything`]. Implement it for your own types
/// where one can be read from the JSON of the other.
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
    note = "`s` gives all arguments, `p` leaves the first to the task before, `si` ignores the result before",
    note = "a task after a group takes the list of the group's results as its first argument",
    note = "signatures of untyped tasks get their types from `.cast::<In, Out>()`"
)]
pub trait Fits<In: ?Sized> {}

impl<T> Fits<T> for T {}

impl<T> Fits<Option<T>> for T {}

impl<T> Fits<Anything> for T {}

/// The first argument of a signature that can be sent by itself: `()`, since all arguments are given, or [`Anything`].
#[diagnostic::on_unimplemented(
    message = "this signature cannot be sent by itself: its first argument (`{Self}`) is missing",
    label = "the `{Self}` is missing",
    note = "join it to a task that returns this argument (`task | this`), or give the argument with `.partial(value)`"
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
