//! What can be wrong with a message, a result or a codec; how an error is shown with its causes.

use std::error::Error as StdError;
use std::fmt;

use crate::value::printable::printable;

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

/// An error of this crate. `{error}` says what was attempted, in lower case, so that it reads after "could not …";
/// `{error:#}` adds the causes ([`with_causes`]).
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

    /// What was attempted, and the cause: for an error that says the same under a kind of its own.
    pub fn into_parts(self) -> (String, Option<Box<dyn StdError + Send + Sync>>) {
        (self.context, self.source)
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
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

/// Shows an error and then, after `: `, each cause that [`source`](StdError::source) leads to:
/// "publish the task: connect to redis://cache: connection refused".
///
/// In a log it is `tracing::warn!(error = %with_causes(&error), "…")`. An error may quote a message of others, so
/// control characters are escaped ([`printable`]). For errors of Apium `{error:#}` gives the same text without escapes.
///
/// An error that follows the usual rule prints its own context and leaves its cause to `source`, as those of this
/// project do. Some errors of other libraries print their cause themselves. A cause is left out when the text before it
/// already ends with it, so that no text appears twice.
///
/// # Examples
///
/// ```
/// use apium_protocol::error::{Error, ErrorKind, with_causes};
///
/// let error = Error::new(ErrorKind::Decode, "read the header `eta`").with_source("this is no time");
/// assert_eq!(error.to_string(), "read the header `eta`");
/// assert_eq!(with_causes(&error).to_string(), "read the header `eta`: this is no time");
/// assert_eq!(format!("{error:#}"), "read the header `eta`: this is no time");
/// ```
pub fn with_causes(error: &dyn StdError) -> impl fmt::Display {
    printable(context_and_causes(error))
}

/// The text of [`with_causes`] without escapes, for what is stored, sent or escaped elsewhere.
pub fn context_and_causes(error: &dyn StdError) -> impl fmt::Display {
    WithCauses(error)
}

struct WithCauses<'a>(&'a dyn StdError);

impl fmt::Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.to_string();
        let mut next = self.0.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !ends_with_text(&shown, &text) {
                shown = format!("{shown}: {text}");
            }
            next = cause.source();
        }
        f.write_str(&shown)
    }
}

/// Whether `shown` ends with `text` as words of its own: "read 11" does not end with the text "1".
fn ends_with_text(shown: &str, text: &str) -> bool {
    let before = shown.strip_suffix(text).map(|before| before.chars().next_back());
    before.is_some_and(|last| text.is_empty() || last.is_none_or(|last| !last.is_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use std::error::Error as StdError;
    use std::fmt;

    use super::{Error, ErrorKind, context_and_causes, with_causes};

    /// An error whose text is given, whatever its cause is.
    #[derive(Debug)]
    struct Foreign(&'static str, Option<Box<Foreign>>);

    impl fmt::Display for Foreign {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl StdError for Foreign {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            self.1.as_deref().map(|cause| cause as &(dyn StdError + 'static))
        }
    }

    fn foreign(texts: &[&'static str]) -> Foreign {
        let mut error = None;
        for text in texts.iter().rev() {
            error = Some(Box::new(Foreign(text, error)));
        }
        *error.unwrap()
    }

    #[test]
    fn an_error_shows_its_context_and_on_request_its_causes() {
        let read = Error::new(ErrorKind::Time, "read a time").with_source(foreign(&["no month 13"]));
        let error = read.within(ErrorKind::NotATask, "the header `eta`");
        assert_eq!(format!("{error}"), "read the header `eta`");
        assert_eq!(format!("{error:#}"), "read the header `eta`: read a time: no month 13");
        assert_eq!(with_causes(&error).to_string(), format!("{error:#}"));
    }

    #[test]
    fn a_log_line_is_begun_by_no_text_of_an_error() {
        let error = foreign(&["read x\ny", "no \u{1b}[2J\u{9b}"]);
        assert_eq!(with_causes(&error).to_string(), r"read x\ny: no \u001b[2J\u009b");
        assert_eq!(context_and_causes(&error).to_string(), "read x\ny: no \u{1b}[2J\u{9b}");
    }

    #[test]
    fn a_cause_that_the_text_before_it_ends_with_is_not_repeated() {
        for (texts, shown) in [
            (&["a", "b", "c"] as &[&'static str], "a: b: c"),
            (&["a: b: c", "b: c", "c"], "a: b: c"),
            (&["b", "b", "c"], "b: c"),
            (&["read (b)", "b"], "read (b): b"),
            (&["read 11", "1"], "read 11: 1"),
            (&["a", "", "b"], "a: b"),
            (&["a: b", "b", "c: d", "d"], "a: b: c: d"),
        ] {
            assert_eq!(with_causes(&foreign(texts)).to_string(), shown);
        }
    }
}
