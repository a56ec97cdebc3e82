//! Exit codes, and the one line with a hint that an expected error becomes.

use std::error::Error as StdError;
use std::fmt;

use apium_app::error::{Error as AppError, ErrorKind as AppKind};
use apium_protocol::error::context_and_causes;
use apium_protocol::value::printable::printable;
use apium_transport::error::{Error as TransportError, ErrorKind as TransportKind};

/// A result of a command.
pub(crate) type Result<T, E = CommandError> = std::result::Result<T, E>;

/// How the process ends. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// Done.
    Ok = 0,
    /// The task that was waited for failed or was revoked.
    TaskFailed = 1,
    /// Something on the command line or in the settings is wrong.
    Usage = 2,
    /// The broker or result backend cannot be reached, or refused.
    Unreachable = 3,
    /// The task that was waited for did not end before `--timeout`.
    Timeout = 4,
    /// What was named does not exist.
    NotFound = 5,
    /// No worker replied in time; Celery's number.
    NoReply = 69,
    /// Any other error.
    Other = 70,
}

/// The table of exit codes, as `--help` shows it.
pub(crate) const HELP: &str = "Exit codes:
  0   done
  1   the task that was waited for failed or was revoked
  2   something on the command line or in the settings is wrong
  3   the broker or result backend cannot be reached, or refused
  4   the task that was waited for did not end before --timeout
  5   what was named does not exist
  69  no worker replied in time
  70  any other error
A worker exits with 0 after SIGTERM.";

/// Why a command stopped: a line, a hint and an exit code.
#[derive(Debug)]
pub(crate) struct CommandError {
    /// How the process ends.
    pub(crate) code: Code,
    text: String,
    hint: Option<String>,
}

impl CommandError {
    /// Stops with `code`; `text` reads after "could not".
    pub(crate) fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), hint: None }
    }

    /// Something on the command line is wrong.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(Code::Usage, text)
    }

    /// What was named does not exist.
    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Self::new(Code::NotFound, text)
    }

    /// Says what to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says one thing more about it.
    #[must_use]
    pub(crate) fn and_hint(self, more: &str) -> Self {
        let hint = self.hint.as_ref().map_or_else(|| more.to_owned(), |hint| format!("{hint}; {more}"));
        self.hint(hint)
    }

    /// The stop that an error of the user's app function becomes.
    pub(crate) fn from_build(error: Box<dyn StdError + Send + Sync>) -> Self {
        Self::from_program(error, |text| Self::usage(format!("build the app: {text}")))
    }

    /// The stop that an error of one of the program's own commands becomes.
    pub(crate) fn from_command(name: &str, error: Box<dyn StdError + Send + Sync>) -> Self {
        Self::from_program(error, |text| Self::new(Code::Other, format!("run {name}: {text}")))
    }

    /// An error of Apium that passed through the program, or another one, of which `other` has the text.
    fn from_program(error: Box<dyn StdError + Send + Sync>, other: impl FnOnce(String) -> Self) -> Self {
        match error.downcast::<AppError>() {
            Ok(error) => (*error).into(),
            Err(error) => match error.downcast::<TransportError>() {
                Ok(error) => (*error).into(),
                Err(error) => other(one_line(&context_and_causes(&*error).to_string())),
            },
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: could not {}", printable(one_line(&self.text)))?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {}", printable(hint)),
            None => Ok(()),
        }
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// What to do about an error of a broker or result backend. `None` where its text says it: the driver knows what it was
/// refused, and which part of the address is wrong.
fn hint_of(kind: TransportKind) -> Option<&'static str> {
    match kind {
        TransportKind::Address | TransportKind::Refused | TransportKind::NotFound => None,
        // It may be a whole file, or one entry that another program wrote: to give up the store is not our advice.
        TransportKind::Corrupt => Some("look at what the error names; nothing in it was changed"),
        TransportKind::Timeout | TransportKind::Connection => Some(
            "check that the broker and the result backend run and that their addresses are right (`report` shows them)",
        ),
        _ => Some("`report` shows the addresses and settings in use"),
    }
}

impl From<TransportError> for CommandError {
    fn from(error: TransportError) -> Self {
        let code = match error.kind() {
            TransportKind::Address => Code::Usage,
            TransportKind::NotFound => Code::NotFound,
            _ => Code::Unreachable,
        };
        Self { hint: hint_of(error.kind()).map(str::to_owned), ..Self::new(code, format!("{error:#}")) }
    }
}

impl From<AppError> for CommandError {
    fn from(error: AppError) -> Self {
        let text = format!("{error:#}");
        let (code, hint) = match error.kind() {
            AppKind::NoBackend => {
                (Code::Usage, Some("name a result backend with --result-backend, APIUM_RESULT_BACKEND or apium.toml"))
            }
            AppKind::Publish | AppKind::Backend if transport_kind(&error) == Some(TransportKind::Address) => {
                (Code::Usage, None)
            }
            AppKind::Publish | AppKind::Backend => {
                let kind = transport_kind(&error).unwrap_or(TransportKind::Connection);
                (Code::Unreachable, hint_of(kind))
            }
            AppKind::Config if transport_kind(&error).is_some_and(|kind| kind != TransportKind::Address) => {
                (Code::Unreachable, transport_kind(&error).and_then(hint_of))
            }
            // Its text names the setting, where it was set and what is allowed.
            AppKind::Config | AppKind::Codec | AppKind::Call => (Code::Usage, None),
            AppKind::NotRegistered => (Code::NotFound, Some("`registered` lists the tasks of this program")),
            AppKind::Timeout => (Code::Timeout, Some("it is not taken back; `result ID --watch` waits for it again")),
            AppKind::TaskFailed | AppKind::TaskRevoked => (Code::TaskFailed, None),
            _ if error.is_connection() => (Code::Unreachable, None),
            _ => (Code::Other, None),
        };
        Self { hint: hint.map(str::to_owned), ..Self::new(code, text) }
    }
}

/// The kind of the error of a broker or result backend that caused an error.
fn transport_kind(error: &AppError) -> Option<TransportKind> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref::<TransportError>() {
            return Some(found.kind());
        }
        next = cause.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_one_line_and_a_hint() {
        let stop = CommandError::usage("read --args\n  as JSON").hint("quote it");
        assert_eq!(stop.to_string(), "error: could not read --args as JSON\nhint: quote it");
    }

    #[test]
    fn what_an_error_quotes_sends_nothing_to_the_terminal() {
        let stop = CommandError::not_found("find \u{1b}[2Jx\rERROR").hint("see \u{9b}31m");
        assert_eq!(stop.to_string(), "error: could not find \\u001b[2Jx\\rERROR\nhint: see \\u009b31m");
    }

    #[test]
    fn a_broken_connection_is_unreachable_also_behind_the_app_function() {
        let error = TransportError::new(TransportKind::Connection, "reach redis://cache");
        let stop = CommandError::from_build(Box::new(error));
        assert_eq!(stop.code, Code::Unreachable);
        assert!(stop.to_string().contains("reach redis://cache"), "{stop}");
    }

    #[test]
    fn each_cause_is_printed_once() {
        let cause = TransportError::new(TransportKind::Connection, "reach redis://cache")
            .with_source(std::io::Error::other("connection refused"));
        let error = || AppError::new(AppKind::Backend, "open the broker");
        let whole = "error: could not open the broker: reach redis://cache: connection refused\nhint: ";
        let stop = CommandError::from(error().with_source(cause));
        assert!(stop.to_string().starts_with(whole), "{stop}");
        let foreign = std::io::Error::other(error().with_source("no\ndriver"));
        let stop = CommandError::from_build(foreign.into());
        assert_eq!(stop.to_string(), "error: could not build the app: open the broker: no driver");
    }

    #[test]
    fn a_wrong_setting_is_a_usage_error() {
        let stop: CommandError =
            AppError::new(AppKind::Config, "read the settings: unknown setting task_serialiser").into();
        assert_eq!(stop.code, Code::Usage);
        assert!(!stop.to_string().contains("hint"), "`report` refuses the same setting: {stop}");
    }

    #[test]
    fn no_hint_contradicts_what_the_driver_says() {
        let wrong = [
            (TransportKind::Refused, "connect at h:1; user name or password are wrong", Code::Unreachable),
            (TransportKind::Address, "connect: could not read /etc/ca.pem: no such file", Code::Usage),
            (TransportKind::NotFound, "ask the sentinel for its master \"x\": it watches none", Code::NotFound),
        ];
        for (kind, text, code) in wrong {
            let stop = CommandError::from(TransportError::new(kind, text));
            assert_eq!((stop.code, stop.to_string()), (code, format!("error: could not {text}")));
            let inside = AppError::new(AppKind::Backend, "read it").with_source(TransportError::new(kind, text));
            assert_eq!(CommandError::from(inside).to_string(), format!("error: could not read it: {text}"));
        }
        let text = "read the value of celery-task-meta-1: it is no result document";
        let stop = CommandError::from(TransportError::new(TransportKind::Corrupt, text)).to_string();
        assert!(stop.contains(text) && !stop.contains("move it away") && !stop.contains("restore"), "{stop}");
    }
}
