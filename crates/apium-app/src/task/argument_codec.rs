//! How the arguments and results of `#[task]` functions travel.
//!
//! The code that the macro generates names the bounds of a type once, in [`argument_codec`] or [`encode`]. So a type
//! that cannot travel is one error, at the type. `do_not_recommend` makes the compiler name our trait, not the two of
//! serde.

use std::any::Any;
use std::error::Error as StdError;

use apium_protocol::error::Result as ProtocolResult;
use apium_protocol::json::text::{Json, JsonList};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::task_error::{TaskError, TaskErrorKind, TaskResult};

/// A type that a task can take: it is written into a message, and read from one. Every type is, for which serde has
/// `Serialize` and `DeserializeOwned`.
#[diagnostic::on_unimplemented(
    message = "a task cannot take `{Self}`: serde cannot write it into a message and read it again",
    label = "it needs `serde::Serialize` and `serde::Deserialize`",
    note = "a type of yours derives both; what stays in the worker, like a connection, is a `State<T>` of the app"
)]
pub trait TaskArgument: Serialize + DeserializeOwned + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + 'static> TaskArgument for T {}

/// A type that a task can return: it is written into a message and a result store. Every type is, for which serde has
/// `Serialize`.
#[diagnostic::on_unimplemented(
    message = "a task cannot return `{Self}`: serde cannot write it as a result",
    label = "it needs `serde::Serialize`",
    note = "a type of yours derives it; callers read the result with `serde::Deserialize`"
)]
pub trait TaskOutput: Serialize + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + 'static> TaskOutput for T {}

/// How an argument of this type is written and read. There is one constant for each parameter of a task.
#[derive(Debug, Clone, Copy)]
pub struct ArgumentCodec<T> {
    /// Writes it as the next positional argument.
    pub(crate) push: fn(&mut JsonList, &T) -> ProtocolResult<()>,
    /// Writes it by itself.
    pub(crate) write: fn(&T) -> ProtocolResult<Json>,
    /// Reads it; the text says why it cannot be read.
    pub(crate) read: fn(&Json) -> Result<T, String>,
}

/// The codec of a type.
pub const fn argument_codec<T: TaskArgument>() -> ArgumentCodec<T> {
    ArgumentCodec { push: |list, value| list.push(value), write: |value| Json::from_serialize(value), read: decode }
}

/// Encodes what a task returned.
///
/// # Errors
/// A failure of class `kombu.exceptions.EncodeError` when the value has no JSON form.
pub fn encode<T: TaskOutput>(value: T) -> TaskResult<Json> {
    let value = match cast::<T, Json>(value) {
        Ok(json) => return Ok(json),
        Err(value) => value,
    };
    Json::from_serialize(&value).map_err(|error| {
        let failure = Failure::of_class("kombu.exceptions.EncodeError", &format!("return value: {error:#}"));
        TaskError::new(TaskErrorKind::Failure(failure))
    })
}

/// The value as a `U` if `T` is the type `U`, else the value itself.
fn cast<T: 'static, U: 'static>(value: T) -> Result<U, T> {
    let mut value = Some(value);
    match (&mut value as &mut dyn Any).downcast_mut::<Option<U>>().and_then(Option::take) {
        Some(same) => Ok(same),
        None => value.map_or_else(|| unreachable!("the value is gone only where it has the other type"), Err),
    }
}

pub(crate) fn decode<T: DeserializeOwned + 'static>(json: &Json) -> Result<T, String> {
    if std::any::TypeId::of::<T>() == std::any::TypeId::of::<Json>()
        && let Ok(same) = cast::<Json, T>(json.clone())
    {
        return Ok(same);
    }
    json.decode().map_err(|error| {
        let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        without_position(&cause).to_owned()
    })
}

/// The parser's message without ` at line 1 column 5`, which means nothing for a single argument.
fn without_position(message: &str) -> &str {
    message.rfind(" at line ").map_or(message, |at| &message[..at])
}

#[cfg(test)]
mod tests {
    use apium_protocol::json::text::Json;

    use super::{argument_codec, encode};

    #[test]
    fn json_is_neither_copied_nor_changed() {
        let json = Json::from_serialize(&1).unwrap();
        let same: Json = (argument_codec().read)(&json).unwrap();
        assert_eq!(same.as_bytes().as_ptr(), json.as_bytes().as_ptr());
        assert_eq!(encode(same).unwrap().as_bytes().as_ptr(), json.as_bytes().as_ptr());
        assert_eq!(encode(vec![1, 2]).unwrap().as_str(), "[1, 2]");
    }

    #[test]
    fn the_reason_of_a_wrong_type_names_no_place_in_the_json() {
        let reason = (argument_codec::<i64>().read)(&Json::from_serialize("two").unwrap()).unwrap_err();
        assert_eq!(reason, "invalid type: string \"two\", expected i64");
    }
}
