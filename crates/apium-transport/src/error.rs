//! The error of brokers and result backends: a kind, a text and a cause.

use std::error::Error as StdError;
use std::fmt;

use apium_protocol::error::context_and_causes;

/// A result of a broker or result backend operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as far as a caller may want to act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The address cannot be read, or names no known driver.
    Address,
    /// The broker or store cannot be reached, or the connection broke.
    Connection,
    /// An operation did not finish before its deadline.
    Timeout,
    /// The store answers, but cannot do it now: its memory or its disk is full, it loads its data, it became a replica.
    Unavailable,
    /// A receipt is lost: the delivery was settled before, or its lease ran out and another consumer has the message.
    LeaseLost,
    /// The store refused: read-only, no permission, no such exchange.
    Refused,
    /// A message or a result is larger than the store takes, or than a setting allows. It will never be taken as it
    /// is.
    TooLarge,
    /// The data in the store is damaged, or of an unknown version.
    Corrupt,
    /// Something that was named does not exist.
    NotFound,
    /// The handle was closed.
    Closed,
    /// The store closed itself for good, because it cannot tell any more what it has kept: the disk lost what was
    /// written, or the data is damaged. Only a new process may use it.
    Unusable,
    /// Anything else.
    Other,
}

/// An error of a broker or result backend. `{error}` says what was attempted, in lower case, so that it reads after
/// "could not …"; `{error:#}` adds the causes ([`with_causes`](apium_protocol::error::with_causes)).
pub struct Error {
    kind: ErrorKind,
    context: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`. `context` says what was attempted, on what, and what to do about it.
    pub fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the broker or store could not be reached or did not answer in time.
    pub fn is_connection(&self) -> bool {
        matches!(self.kind, ErrorKind::Connection | ErrorKind::Timeout)
    }

    /// Whether the same operation may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.is_connection() || self.kind == ErrorKind::Unavailable
    }

    /// Whether no operation of this process on the store will succeed any more.
    pub fn is_final(&self) -> bool {
        self.kind == ErrorKind::Unusable
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
