//! What can be wrong with a message, a result or a codec.

use std::error::Error as StdError;
use std::fmt;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A value could not be encoded.
    Encode,
    /// Bytes could not be decoded by their serializer.
    Decode,
    /// The content type is known but not in the accept list.
    NotAccepted,
    /// No serializer is registered for the content type or name.
    UnknownSerializer,
    /// No compression is registered for the MIME type or name.
    UnknownCompression,
    /// The compressed bytes are damaged, or become too large.
    Decompress,
    /// It could be decoded, but is not a task message: without task or id, or with a body of the wrong shape.
    NotATask,
    /// A time cannot be read.
    Time,
}

/// An error of this crate. Its text is lower case and reads after "could not …".
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    context: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`.
    pub fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(crate) fn encode(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Encode, "encode the value").with_source(source)
    }

    pub(crate) fn decode(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Decode, "decode the value").with_source(source)
    }

    /// The error of reading `place`, of this kind, with `self` as its cause.
    pub(crate) fn within(self, kind: ErrorKind, place: &str) -> Self {
        Self::new(kind, format!("read {place}")).with_source(self)
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn StdError + 'static))
    }
}
