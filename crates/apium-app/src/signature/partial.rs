//! Partial arguments: what a signature still lacks, given before it is sent (Celery: `clone(args, kwargs)`,
//! `apply_async(args)`).

use apium_protocol::json::text::Json;
use serde::Serialize;

use crate::canvas::node::Node;
use crate::error::{Error, ErrorKind};
use crate::signature::signature::Signature;
use crate::task::arguments::Arguments;

/// A keyword argument of the tasks that begin a signature, over one of that name.
pub(crate) fn set_keyword(node: &mut Node, name: &str, value: &Json) {
    let given = Arguments { args: Vec::new(), kwargs: vec![(name.to_owned(), value.clone())] };
    node.each_first(&mut |task| task.call.arguments.prepend(given.clone()));
}

/// A value as it stands among the arguments.
pub(crate) fn encoded(value: &(impl Serialize + ?Sized), what: &str) -> Result<Json, Error> {
    Json::from_serialize(value)
        .map_err(|error| Error::new(ErrorKind::Codec, format!("encode {what}")).with_source(error))
}

/// Puts an argument in front of those of the tasks that begin a signature.
pub(crate) fn put_first(node: &mut Node, value: &Json) {
    node.each_first(&mut |task| task.call.arguments.args.insert(0, value.clone()));
}

impl<In: Serialize, Out> Signature<In, Out> {
    /// The same with its first argument, which otherwise the task before gives. Of a group and a chord, each task that
    /// begins it gets it.
    ///
    /// ```
    /// # use apium_app::signature::signature::Signature;
    /// # fn sends(minus_two: Signature<i64, i64>) {
    /// let now: Signature<(), i64> = minus_two.partial(44);
    /// # }
    /// ```
    pub fn partial(mut self, first: In) -> Signature<(), Out> {
        match encoded(&first, "the first argument") {
            Ok(value) if !self.is_whole() => put_first(self.node_mut(), &value),
            Ok(_) => {}
            Err(error) => self.fail(error),
        }
        let (node, _, failed) = self.into_parts();
        Signature::of_parts(node, true, failed)
    }
}

impl<In: ?Sized, Out> Signature<In, Out> {
    /// A keyword argument, over one of that name. Nothing checks that the task has it. Of a chain, its first task gets
    /// it.
    pub fn kwarg(mut self, name: impl AsRef<str>, value: impl Serialize) -> Self {
        let name = name.as_ref();
        match encoded(&value, &format!("the keyword argument {name}")) {
            Ok(value) => set_keyword(self.node_mut(), name, &value),
            Err(error) => self.fail(error),
        }
        self
    }
}
