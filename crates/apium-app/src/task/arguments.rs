//! A task's parameters, and the arguments of one call.

use std::ops::Deref;

use apium_protocol::error::Result as ProtocolResult;
use apium_protocol::json::text::{Json, JsonList};
use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::task::argument_codec::ArgumentCodec;

/// One wire parameter of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Its name: the keyword argument on the wire.
    pub name: &'static str,
    /// Whether a call may leave it out.
    pub optional: bool,
    /// Whether a call gives it by its name alone, as what comes after `*` or `*args` in Python.
    pub keyword_only: bool,
}

impl Parameter {
    /// A parameter that every call must give.
    pub const fn required(name: &'static str) -> Self {
        Self { name, optional: false, keyword_only: false }
    }

    /// A parameter that a call may leave out.
    pub const fn optional(name: &'static str) -> Self {
        Self { name, optional: true, keyword_only: false }
    }

    /// The same parameter, given by its name alone.
    pub const fn by_keyword(self) -> Self {
        Self { keyword_only: true, ..self }
    }
}

/// The wire parameters of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterList {
    /// The function's name as errors about its arguments print it (`add` in `add() missing 1 required …`).
    pub function: &'static str,
    /// The named parameters in order, those that are given by name alone last. A call gives the others by position or
    /// by name.
    pub named: &'static [Parameter],
    /// Whether it takes further positional arguments: a parameter of type [`Args`], Python's `*args`.
    pub var_args: bool,
    /// Whether it takes further keyword arguments: a parameter of type [`Kwargs`], Python's `**kwargs`.
    pub var_kwargs: bool,
}

impl ParameterList {
    /// How many of the named parameters a call may give by position.
    pub fn positional(&self) -> usize {
        self.named.iter().take_while(|parameter| !parameter.keyword_only).count()
    }
}

/// The arguments of one call. Each is JSON text. Those of one message or one call share a buffer.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Arguments {
    /// The positional arguments.
    pub args: Vec<Json>,
    /// The keyword arguments.
    pub kwargs: Vec<(String, Json)>,
}

impl Arguments {
    /// These positional and keyword arguments.
    pub fn new(args: Vec<Json>, kwargs: Vec<(String, Json)>) -> Self {
        Self { args, kwargs }
    }

    /// Puts positional arguments before these. Keyword arguments replace those of the same name.
    pub(crate) fn prepend(&mut self, others: Self) {
        if !others.args.is_empty() {
            let own = std::mem::replace(&mut self.args, others.args);
            self.args.extend(own);
        }
        for (name, value) in others.kwargs {
            match self.kwargs.iter_mut().find(|(own, _)| *own == name) {
                Some((_, own)) => *own = value,
                None => self.kwargs.push((name, value)),
            }
        }
    }
}

/// The positional arguments after those of the named parameters: Python's `*args`. A task takes them by a parameter of
/// this type, which comes after the named ones.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Args(pub Vec<Json>);

/// The keyword arguments that are not named parameters, in the order of the call: Python's `**kwargs`. A task takes
/// them by a parameter of this type, which is the last one.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Kwargs(pub Vec<(String, Json)>);

impl Deref for Args {
    type Target = [Json];

    fn deref(&self) -> &[Json] {
        &self.0
    }
}

impl FromIterator<Json> for Args {
    fn from_iter<I: IntoIterator<Item = Json>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl Deref for Kwargs {
    type Target = [(String, Json)];

    fn deref(&self) -> &[(String, Json)] {
        &self.0
    }
}

impl Kwargs {
    /// The value of a keyword argument.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

impl<K: Into<String>> FromIterator<(K, Json)> for Kwargs {
    fn from_iter<I: IntoIterator<Item = (K, Json)>>(values: I) -> Self {
        Self(values.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }
}

/// A keyword argument that a call may leave out. It is not sent then, and the program of the task uses its own default.
/// Any value turns into one, as in `"large".into()` and `5.into()`; `Keyword::default()` and `Keyword(None)` leave it
/// out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Keyword<T>(pub Option<T>);

impl<T> Default for Keyword<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> From<T> for Keyword<T> {
    fn from(value: T) -> Self {
        Self(Some(value))
    }
}

impl From<&str> for Keyword<String> {
    fn from(text: &str) -> Self {
        Self(Some(text.to_owned()))
    }
}

/// Encodes the arguments of a call, in order. The first value that cannot be encoded is the error of
/// [`finish`](Self::finish).
#[derive(Debug)]
pub struct ArgumentWriter {
    list: JsonList,
    var_args: Vec<Json>,
    kwargs: Vec<(String, Json)>,
    first_error: Option<Error>,
}

impl ArgumentWriter {
    /// A writer with room for `count` positional arguments.
    pub fn new(count: usize) -> Self {
        Self { list: JsonList::new(count), var_args: Vec::new(), kwargs: Vec::new(), first_error: None }
    }

    /// Adds a positional argument. Those of [`rest`](Self::rest) come after all of these.
    #[must_use]
    pub fn arg<T: Serialize + ?Sized>(self, value: &T) -> Self {
        self.push(|list| list.push(value))
    }

    /// Adds a positional argument of a `#[task]` function.
    #[must_use]
    pub fn argument<T>(self, codec: &ArgumentCodec<T>, value: &T) -> Self {
        self.push(|list| (codec.push)(list, value))
    }

    fn push(mut self, push: impl FnOnce(&mut JsonList) -> ProtocolResult<()>) -> Self {
        if self.first_error.is_none()
            && let Err(error) = push(&mut self.list)
        {
            let context = format!("encode positional argument {} of the call", self.list.len() + 1);
            self.first_error = Some(Error::new(ErrorKind::Codec, context).with_source(error));
        }
        self
    }

    /// Adds a keyword argument.
    #[must_use]
    pub fn keyword<T>(mut self, codec: &ArgumentCodec<T>, name: &str, value: &T) -> Self {
        if self.first_error.is_none() {
            match (codec.write)(value) {
                Ok(value) => self.kwargs.push((name.to_owned(), value)),
                Err(error) => {
                    let context = format!("encode the keyword argument {name} of the call");
                    self.first_error = Some(Error::new(ErrorKind::Codec, context).with_source(error));
                }
            }
        }
        self
    }

    /// Adds a keyword argument, unless it is left out.
    #[must_use]
    pub fn optional_keyword<T>(self, codec: &ArgumentCodec<T>, name: &str, value: Keyword<T>) -> Self {
        match value {
            Keyword(Some(value)) => self.keyword(codec, name, &value),
            Keyword(None) => self,
        }
    }

    /// Adds further positional arguments, after those of [`arg`](Self::arg).
    #[must_use]
    pub fn rest(mut self, args: Args) -> Self {
        self.var_args.extend(args.0);
        self
    }

    /// Adds further keyword arguments.
    #[must_use]
    pub fn keywords(mut self, kwargs: Kwargs) -> Self {
        self.kwargs.extend(kwargs.0);
        self
    }

    /// The arguments of the call.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`], which names the argument that could not be encoded.
    pub fn finish(self) -> Result<Arguments> {
        if let Some(error) = self.first_error {
            return Err(error);
        }
        let mut args = self.list.into_values();
        args.extend(self.var_args);
        Ok(Arguments { args, kwargs: self.kwargs })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{Args, ArgumentWriter, Keyword, Kwargs};
    use crate::task::argument_codec::argument_codec;
    use apium_protocol::json::text::Json;

    fn json<T: serde::Serialize>(value: T) -> Json {
        Json::from_serialize(&value).unwrap()
    }

    #[test]
    fn arguments_are_written_in_order() {
        let var_args = Args::from_iter([json(3)]);
        let keywords = Kwargs::from_iter([("k", json("v"))]);
        let arguments = ArgumentWriter::new(2).arg(&1).arg("two").rest(var_args).keywords(keywords).finish().unwrap();
        assert_eq!(arguments.args, [json(1), json("two"), json(3)]);
        assert_eq!(arguments.kwargs, [("k".to_owned(), json("v"))]);
    }

    #[test]
    fn a_keyword_that_is_left_out_is_not_sent() {
        let writer = ArgumentWriter::new(1).arg(&1).keyword(&argument_codec(), "size", &2);
        let arguments = writer.optional_keyword(&argument_codec(), "model", Keyword::<String>::from("large"));
        let arguments =
            arguments.optional_keyword(&argument_codec(), "deep", Keyword::<bool>::default()).finish().unwrap();
        assert_eq!(arguments.kwargs, [("size".to_owned(), json(2)), ("model".to_owned(), json("large"))]);
        let bad: HashMap<Vec<u8>, u8> = HashMap::from([(vec![1], 1)]);
        let error = ArgumentWriter::new(0).keyword(&argument_codec(), "bad", &bad).finish().unwrap_err();
        assert!(error.to_string().contains("keyword argument bad"), "{error}");
    }

    #[test]
    fn an_argument_that_cannot_be_encoded_is_named_by_its_position() {
        let bad: HashMap<Vec<u8>, u8> = HashMap::from([(vec![1], 1)]);
        let error = ArgumentWriter::new(2).arg(&1).arg(&bad).arg(&2).finish().unwrap_err();
        assert!(error.to_string().contains("positional argument 2"), "{error}");
    }
}
