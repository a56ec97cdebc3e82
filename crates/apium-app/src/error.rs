//! The error type of building an app, calling tasks and reading results.

use std::error::Error as StdError;
use std::fmt;

use apium_protocol::error::context_and_causes;
use apium_protocol::result::exception::ExceptionInfo;

use crate::failure::{Failure, is_outage};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as far as a caller may want to act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting, a route, a registration is wrong; found when the app is built.
    Config,
    /// The message could not be published (Celery: `OperationalError`).
    Publish,
    /// The result backend could not be reached or refused.
    Backend,
    /// No result backend is configured (Celery: `NotImplementedError` from `get`), or it lacks what was asked for:
    /// stored results, or counters of chords.
    NoBackend,
    /// A value could not be encoded or decoded.
    Codec,
    /// No task of that name is registered here.
    NotRegistered,
    /// Neither an explicit app, nor the worker's, nor an installed one.
    NoCurrentApp,
    /// The result did not come before the timeout; the task is not taken back.
    Timeout,
    /// `get` was called inside a task.
    GetInTask,
    /// A result of a tree is not ready (Celery: `IncompleteStream`).
    Incomplete,
    /// The task failed; [`Error::failure`] has the failure.
    TaskFailed,
    /// The task was revoked or expired; [`Error::failure`] has the reason.
    TaskRevoked,
    /// An argument of the call is impossible (soft limit above hard, a countdown out of range, …).
    Call,
}

/// An error of building an app, calling a task or reading a result. `{error}` says what was attempted, in lower case,
/// so that it reads after "could not …"; `{error:#}` adds the causes
/// ([`with_causes`](apium_protocol::error::with_causes)).
pub struct Error {
    kind: ErrorKind,
    context: String,
    failure: Option<Box<Failure>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `context` says what was attempted, on what, and what to do about it.
    pub fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), failure: None, source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds the task's failure.
    #[must_use]
    pub fn with_failure(mut self, failure: Failure) -> Self {
        self.failure = Some(Box::new(failure));
        self
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The failure of the task, for [`ErrorKind::TaskFailed`] and [`ErrorKind::TaskRevoked`].
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_deref()
    }

    /// The exception that Celery raises here, where a task that lets it through fails with it: that of the task whose
    /// result was wanted, `RuntimeError` for a wait that is refused, `TimeoutError` for one that was too long.
    pub(crate) fn exception(&self) -> Option<ExceptionInfo> {
        match self.kind {
            ErrorKind::TaskFailed | ErrorKind::TaskRevoked => Some(self.failure()?.exception().clone()),
            ErrorKind::GetInTask => Some(ExceptionInfo::new("builtins", "RuntimeError", format!("{self:#}"))),
            ErrorKind::Incomplete => {
                Some(ExceptionInfo::new("celery.exceptions", "IncompleteStream", format!("{self:#}")))
            }
            ErrorKind::Timeout => Some(ExceptionInfo::new("celery.exceptions", "TimeoutError", format!("{self:#}"))),
            _ => None,
        }
    }

    /// Whether it says that a broker or a store could not be reached, could not do it at the moment, or was closed.
    pub(crate) fn is_outage(&self) -> bool {
        let mut next = self.source();
        while let Some(error) = next {
            if is_outage(error) {
                return true;
            }
            next = error.source();
        }
        false
    }

    /// Whether the broker or backend could not be reached.
    pub fn is_connection(&self) -> bool {
        let transport = self.source.as_ref().and_then(|e| e.downcast_ref::<apium_transport::error::Error>());
        transport.is_some_and(apium_transport::error::Error::is_connection)
    }
}

/// As a program shows it whose `main` returns it: `could not …` with the causes. `{:#?}` shows the parts.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match f.alternate() {
            true => f
                .debug_struct("Error")
                .field("kind", &self.kind)
                .field("context", &self.context)
                .field("failure", &self.failure)
                .field("source", &self.source)
                .finish(),
            false => write!(f, "could not {self:#}"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match f.alternate() {
            true => context_and_causes(self).fmt(f),
            false => f.write_str(&self.context),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn StdError + 'static))
    }
}

impl From<apium_transport::error::Error> for Error {
    fn from(error: apium_transport::error::Error) -> Self {
        let kind = match error.kind() {
            apium_transport::error::ErrorKind::Address => ErrorKind::Config,
            _ => ErrorKind::Backend,
        };
        Self::new(kind, "use the broker or result backend").with_source(error)
    }
}

impl From<apium_protocol::error::Error> for Error {
    fn from(error: apium_protocol::error::Error) -> Self {
        let (context, source) = error.into_parts();
        Self { source, ..Self::new(ErrorKind::Codec, context) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_main_that_returns_it_shows_what_could_not_be_done_and_why() {
        let refused = std::io::Error::other("connection refused");
        let error = Error::new(ErrorKind::Publish, "publish the message to redis://cache").with_source(refused);
        assert_eq!(format!("{error:?}"), "could not publish the message to redis://cache: connection refused");
        assert!(format!("{error:#?}").contains("kind: Publish"), "{error:#?}");
    }
}
