//! Arguments that are given to a signature later, before it is sent (Celery: `clone(args, kwargs)`,
//! `apply_async(args)`).

use apium_protocol::json::text::Json;
use serde::Serialize;

use crate::canvas::node::Node;
use crate::error::{Error, ErrorKind};
use crate::signature::signature::Signature;
use crate::task::arguments::Arguments;

/// Sets a keyword argument of the first tasks of a signature.
pub(crate) fn set_keyword(node: &mut Node, name: &str, value: &Json) {
    let keyword = Arguments { args: Vec::new(), kwargs: vec![(name.to_owned(), value.clone())] };
    node.each_first(&mut |task| task.call.arguments.prepend(keyword.clone()));
}

/// A value as JSON. `what` names it in the error.
pub(crate) fn encoded(value: &(impl Serialize + ?Sized), what: &str) -> Result<Json, Error> {
    Json::from_serialize(value)
        .map_err(|error| Error::new(ErrorKind::Codec, format!("encode {what}")).with_source(error))
}

/// Puts an argument in front of those of the first tasks of a signature.
pub(crate) fn put_first(node: &mut Node, value: &Json) {
    node.each_first(&mut |task| task.call.arguments.args.insert(0, value.clone()));
}

impl<In: Serialize, Out> Signature<In, Out> {
    /// Gives the first argument, which the result of a task before would be otherwise. In a group and in the header of
    /// a chord, every first task gets it.
    ///
    /// ```
    /// # use apium_app::signature::signature::Signature;
    /// # fn sends(minus_two: Signature<i64, i64>) {
    /// let complete: Signature<(), i64> = minus_two.partial(44);
    /// # }
    /// ```
    pub fn partial(mut self, first: In) -> Signature<(), Out> {
        match encoded(&first, "the first argument") {
            Ok(value) if !self.is_complete() => put_first(self.node_mut(), &value),
            Ok(_) => {}
            Err(error) => self.fail(error),
        }
        let (node, _, error) = self.into_parts();
        Signature::of_parts(node, true, error)
    }
}

impl<In: ?Sized, Out> Signature<In, Out> {
    /// Sets a keyword argument. Nothing checks that the task has such a parameter. In a chain, the first task gets it.
    pub fn kwarg(mut self, name: impl AsRef<str>, value: impl Serialize) -> Self {
        let name = name.as_ref();
        match encoded(&value, &format!("the keyword argument {name}")) {
            Ok(value) => set_keyword(self.node_mut(), name, &value),
            Err(error) => self.fail(error),
        }
        self
    }
}
