//! A task's failure: the exception as it goes over the wire, and the Rust error behind it where there is one.

use std::any::TypeId;
use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, OnceLock};

use apium_protocol::exception::ExceptionInfo;
use apium_protocol::json::Json;

/// A task's failure. Cheap to clone.
#[derive(Clone)]
pub struct Failure(Arc<Inner>);

struct Inner {
    exception: ExceptionInfo,
    traceback: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Maps a Rust error type to the Python class that stands for it on the wire (`#[wire_error(py = "builtins.ValueError")]`).
pub struct WireErrorEntry {
    /// The Rust type.
    pub type_id: fn() -> TypeId,
    /// `module.Class` in Python.
    pub py: &'static str,
}

inventory::collect!(WireErrorEntry);

fn mapped(id: TypeId) -> Option<&'static str> {
    static MAP: OnceLock<HashMap<TypeId, &'static str>> = OnceLock::new();
    let map = MAP.get_or_init(|| {
        inventory::iter::<WireErrorEntry>.into_iter().map(|entry| ((entry.type_id)(), entry.py)).collect()
    });
    map.get(&id).copied()
}

impl Failure {
    /// A failure with a message only.
    pub fn message(message: impl Into<String>) -> Self {
        Self::from_exception(exception("apium.TaskError", &message.into()))
    }

    /// A failure that stands for a given exception.
    pub fn from_exception(exception: ExceptionInfo) -> Self {
        Self(Arc::new(Inner { exception, traceback: None, source: None }))
    }

    /// A failure of a Rust error. `exc_type` is the type's name, or the Python class it is mapped to.
    pub fn from_error<E: StdError + Send + Sync + 'static>(error: E) -> Self {
        let path = match mapped(TypeId::of::<E>()) {
            Some(py) => py.to_owned(),
            None => plain_path(std::any::type_name::<E>()),
        };
        Self::of(&path, Box::new(error))
    }

    /// A failure of a boxed error, whose type is not known.
    pub fn from_boxed(error: Box<dyn StdError + Send + Sync>) -> Self {
        Self::of("apium.Error", error)
    }

    fn of(path: &str, error: Box<dyn StdError + Send + Sync>) -> Self {
        let exception = exception(path, &error.to_string());
        let traceback = chain_text(path, &*error);
        Self(Arc::new(Inner { exception, traceback: Some(traceback), source: Some(error) }))
    }

    /// The same failure with this traceback text.
    #[must_use]
    pub fn with_traceback(self, traceback: impl Into<String>) -> Self {
        let exception = self.0.exception.clone();
        let source = Arc::into_inner(self.0).and_then(|inner| inner.source);
        Self(Arc::new(Inner { exception, traceback: Some(traceback.into()), source }))
    }

    /// The exception as it goes over the wire.
    pub fn exception(&self) -> &ExceptionInfo {
        &self.0.exception
    }

    /// The traceback's text: the error and its sources, or what a Python worker stored.
    pub fn traceback(&self) -> Option<&str> {
        self.0.traceback.as_deref()
    }

    /// The Rust error, where the failure was made of one.
    pub fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|e| e as &(dyn StdError + 'static))
    }

    /// Whether the error or one of its sources satisfies `test` (how `autoretry_for` and `throws` look).
    pub fn any_source(&self, test: impl Fn(&(dyn StdError + 'static)) -> bool) -> bool {
        std::iter::successors(self.source(), |error| error.source()).any(test)
    }
}

fn exception(path: &str, message: &str) -> ExceptionInfo {
    let (module, name) = path.rsplit_once('.').unwrap_or(("builtins", path));
    ExceptionInfo {
        exc_type: name.to_owned(),
        exc_message: vec![Json::from_serialize(message).unwrap_or_default()],
        exc_module: Some(module.to_owned()),
    }
}

/// `core::num::ParseIntError` as `core.num.ParseIntError`, without type parameters.
fn plain_path(type_name: &str) -> String {
    type_name.split('<').next().unwrap_or(type_name).replace("::", ".")
}

fn chain_text(path: &str, error: &dyn StdError) -> String {
    let mut text = format!("{path}: {error}");
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str("\ncaused by: ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Failure({self})")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.exception.fmt(f)
    }
}
