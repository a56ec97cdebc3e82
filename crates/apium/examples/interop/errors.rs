//! Errors that are Python classes on the wire.

use std::fmt;

use apium::prelude::*;

/// Python's `ValueError`.
#[wire_error(py = "builtins.ValueError")]
#[derive(Debug)]
pub(crate) struct ValueError(pub(crate) String);

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ValueError {}

/// Python's `KeyError`.
#[wire_error(py = "builtins.KeyError")]
#[derive(Debug)]
pub(crate) struct KeyError(pub(crate) String);

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for KeyError {}

/// Python's `ValueError` with any value.
pub(crate) fn value_error(value: &Value) -> Failure {
    Failure::from_exception(ExceptionInfo::with_args("builtins", "ValueError", vec![Json::from_value(value)]))
}

/// A failure of the class `tasks.PeerError` with its two arguments.
pub(crate) fn peer_error(code: &Value, text: &Value) -> Failure {
    let arguments = [code, text].map(Json::from_value);
    Failure::from_exception(ExceptionInfo::with_args("tasks", "PeerError", arguments.into()))
}
