//! How a Rust error becomes the failure of a task: its class in Python, its message and its traceback.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::sync::{Arc, PoisonError, RwLock};

use apium_protocol::error::{context_and_causes, with_causes};
use apium_protocol::json::text::Json;
use apium_protocol::result::exception::ExceptionInfo;

use crate::error::Error;
use crate::failure::{Failure, WireError, WireErrorEntry};

/// The classes that were named by hand, by error type. They belong to the program and to no app, as those that the
/// linker collects do: `?` makes a failure of an error where no app is known.
static NAMED: RwLock<BTreeMap<TypeId, WireErrorEntry>> = RwLock::new(BTreeMap::new());

/// Makes the class of an error type known.
pub(crate) fn name_class<E: WireError>() {
    NAMED.write().unwrap_or_else(PoisonError::into_inner).insert(TypeId::of::<E>(), E::ENTRY);
}

/// The Python class of an error, where its type has one.
fn mapped(error: &(dyn StdError + 'static)) -> Option<WireErrorEntry> {
    let is = |entry: &&WireErrorEntry| (entry.is)(error);
    let named = NAMED.read().unwrap_or_else(PoisonError::into_inner).values().find(is).copied();
    named.or_else(|| linked().find(is).copied())
}

#[cfg(feature = "autodiscover")]
fn linked() -> impl Iterator<Item = &'static WireErrorEntry> {
    inventory::iter::<WireErrorEntry>.into_iter()
}

#[cfg(not(feature = "autodiscover"))]
fn linked() -> impl Iterator<Item = &'static WireErrorEntry> {
    std::iter::empty()
}

/// The exception of an error. `path` is the class of one whose type is mapped to no Python class.
fn exception_of(error: &(dyn StdError + 'static), path: &str) -> ExceptionInfo {
    let entry = mapped(error);
    let path = entry.map_or(path, |entry| entry.py);
    let mut exception = ExceptionInfo::from_path(path, message_of(error));
    // A list that is empty may be written as `()`, which is null.
    let list = |args: Json| if args.is_null() { Ok(Vec::new()) } else { args.decode() };
    match entry.and_then(|entry| entry.args?(error)).map(|args| args.and_then(list)) {
        Some(Ok(args)) => exception.exc_message = args,
        // The text says at least what happened.
        Some(Err(error)) => {
            tracing::error!(error = %with_causes(&error), "could not write the arguments of an exception of {path}, so its text is its argument");
        }
        None => {}
    }
    exception
}

/// The `exc_type` of a boxed error that is mapped to no Python class, since its type is not known.
const BOXED: &str = "apium.Error";

impl Failure {
    /// A failure of a Rust error. Its `exc_type` is the name of the error type, or of the Python class for it.
    pub fn from_error<E: StdError + Send + Sync + 'static>(error: E) -> Self {
        Self::of(&plain_path(std::any::type_name::<E>()), Arc::new(error))
    }

    /// A failure of an exception, with the Rust error of which it was made.
    pub(crate) fn of_exception(exception: ExceptionInfo, error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let error = error.into();
        let traceback = chain_text(&exception.exc_type, &*error);
        Self::with_error(exception, traceback, error.into())
    }

    /// A failure of a boxed error. Its `exc_type` is the Python class for the type of the error (`#[wire_error]`), else
    /// `Error`.
    pub fn from_boxed(error: Box<dyn StdError + Send + Sync>) -> Self {
        Self::of(BOXED, error.into())
    }

    /// A failure of an error that must not leave its thread: its text and those of its sources.
    pub(crate) fn from_unsendable(error: &(dyn StdError + 'static)) -> Self {
        let path = mapped(error).map_or(BOXED, |entry| entry.py);
        Self::from_exception(exception_of(error, path)).with_traceback(chain_text(path, error))
    }

    /// A failure of what turns into a boxed error: an error, a boxed one, or the error type of another library, whose
    /// name is `exc_type` then.
    pub(crate) fn from_type<E>(error: Box<dyn StdError + Send + Sync>) -> Self {
        let name = std::any::type_name::<E>();
        let path = if name.contains("Box<dyn ") { BOXED.to_owned() } else { plain_path(name) };
        Self::of(&path, error.into())
    }

    /// `path` is for an error whose type is mapped to no Python class.
    fn of(path: &str, error: Arc<dyn StdError + Send + Sync>) -> Self {
        let path = mapped(&*error).map_or(path, |entry| entry.py);
        let traceback = chain_text(path, &*error);
        Self::with_error(exception_of(&*error, path), traceback, error)
    }
}

/// The path of a type with dots and without type parameters: `core.num.ParseIntError`.
fn plain_path(type_name: &str) -> String {
    type_name.split('<').next().unwrap_or(type_name).replace("::", ".")
}

/// The message of an exception. That of an error of Apium tells the causes too, since a Python reader sees only this
/// text; of any other error it is what the error prints.
fn message_of(error: &(dyn StdError + 'static)) -> String {
    let is_own = error.is::<Error>()
        || error.is::<apium_transport::error::Error>()
        || error.is::<apium_protocol::error::Error>();
    if is_own { context_and_causes(error).to_string() } else { error.to_string() }
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
