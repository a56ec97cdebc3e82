//! How errors of the client library and of the server become the one error type.

use std::fmt;
use std::sync::Arc;

use apium_transport::error::{Error, ErrorKind};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};

use crate::options::target::{Server, Target};

/// What the server answered, as one line: its texts contain names that anybody may have chosen.
#[derive(Debug)]
struct Answer(String);

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Answer {}

/// A text of the server as one line.
fn one_line(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

/// What an error of the server means: its kind, and what to do about it. `docs/RABBITMQ.md` says the same to readers.
fn of_server(kind: &AMQPErrorKind, text: &str) -> (ErrorKind, &'static str) {
    match kind {
        AMQPErrorKind::Soft(soft) => match soft {
            AMQPSoftError::NOTFOUND => (ErrorKind::NotFound, "it is not there"),
            AMQPSoftError::ACCESSREFUSED if text.contains("in exclusive use") => {
                (ErrorKind::Unavailable, "another connection reads it alone at present")
            }
            AMQPSoftError::ACCESSREFUSED => {
                (ErrorKind::Refused, "the user may not do this: it needs permissions to configure, write and read")
            }
            AMQPSoftError::RESOURCELOCKED => {
                (ErrorKind::Refused, "the queue belongs to another connection: does another worker have this name?")
            }
            AMQPSoftError::PRECONDITIONFAILED if text.contains("inequivalent arg") => {
                (ErrorKind::Refused, "it exists with other settings: declare it as it is, or delete it first")
            }
            AMQPSoftError::PRECONDITIONFAILED if text.contains("larger than") => {
                (ErrorKind::TooLarge, "raise max_message_size of the server, or send less")
            }
            AMQPSoftError::PRECONDITIONFAILED => (ErrorKind::Refused, "the server does not do this as it is asked"),
            AMQPSoftError::CONTENTTOOLARGE => (ErrorKind::TooLarge, ""),
            AMQPSoftError::NOROUTE | AMQPSoftError::NOCONSUMERS => (ErrorKind::NotFound, ""),
        },
        AMQPErrorKind::Hard(hard) => match hard {
            AMQPHardError::CONNECTIONFORCED => (ErrorKind::Connection, "the server closed the connection"),
            AMQPHardError::NOTALLOWED if text.contains("vhost") && text.contains("not found") => {
                (ErrorKind::Refused, "the vhost is not there: `rabbitmqctl add_vhost` makes it")
            }
            AMQPHardError::NOTALLOWED if text.contains("vhost") => {
                (ErrorKind::Refused, "the user may not use the vhost: `rabbitmqctl set_permissions` allows it")
            }
            AMQPHardError::RESOURCEERROR | AMQPHardError::INTERNALERROR => {
                (ErrorKind::Unavailable, "the server cannot do it now; its log says why")
            }
            AMQPHardError::NOTIMPLEMENTED => (ErrorKind::Refused, "the server cannot do this"),
            _ => (ErrorKind::Connection, ""),
        },
    }
}

/// Converts an error of the client library: `what` was attempted at `server`.
pub(crate) fn from_lapin(what: &str, server: &str, error: &lapin::Error) -> Error {
    let (kind, hint, answer) = match error.kind() {
        lapin::ErrorKind::ProtocolError(error) => {
            let text = error.get_message().to_string();
            let (kind, hint) = of_server(error.kind(), &text);
            (kind, hint, one_line(&text))
        }
        lapin::ErrorKind::ChannelsLimitReached => {
            (ErrorKind::Unavailable, "the connection has as many channels as the server allows", error.to_string())
        }
        lapin::ErrorKind::IOError(io) if io.kind() == std::io::ErrorKind::TimedOut => {
            (ErrorKind::Timeout, "", error.to_string())
        }
        lapin::ErrorKind::SerialisationError(_) => (ErrorKind::TooLarge, "it fits no frame", error.to_string()),
        _ => (ErrorKind::Connection, "", error.to_string()),
    };
    let text = match hint {
        "" => format!("{what} at {server}"),
        hint => format!("{what} at {server}; {hint}"),
    };
    Error::new(kind, text).with_source(Answer(answer))
}

/// The same for a new connection: the password may be wrong, the vhost missing, and the server may speak with or
/// without TLS.
pub(crate) fn of_connecting(target: &Target, server: &Server, error: &lapin::Error) -> Error {
    let what = format!("connect to {server} as {:?}", server.user);
    if let lapin::ErrorKind::ProtocolError(refused) = error.kind() {
        let login = matches!(refused.kind(), AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED));
        if login {
            let text = format!("{what}; user name or password are wrong");
            let answer = one_line(refused.get_message().as_str());
            return Error::new(ErrorKind::Refused, text).with_source(Answer(answer));
        }
        let what = format!("connect to the vhost {:?}", target.vhost);
        return from_lapin(&what, &server.to_string(), error);
    }
    let hint = match (target.tls.is_some(), error.kind()) {
        (_, lapin::ErrorKind::IOError(io)) if io.kind() == std::io::ErrorKind::ConnectionRefused => "",
        (_, lapin::ErrorKind::IOError(io)) if io.kind() == std::io::ErrorKind::TimedOut => {
            return Error::new(ErrorKind::Timeout, format!("{what}: it did not answer within {:?}", target.timeout));
        }
        (true, _) => "; it may not speak TLS at this port: the scheme without TLS is amqp://",
        (false, _) => "; it may not speak AMQP at this port; if it wants TLS there, the scheme is amqps://",
    };
    Error::new(ErrorKind::Connection, format!("{what}{hint}")).with_source(Answer(error.to_string()))
}

/// A server with its vhost, for errors.
pub(crate) fn shown_server(target: &Target, server: &Server) -> String {
    format!("{server} (vhost {:?})", target.vhost)
}

/// The error of an operation on a handle that was closed.
pub(crate) fn closed(what: &str) -> Error {
    Error::new(ErrorKind::Closed, format!("{what}: it was closed"))
}

/// Whether an error ends one channel, and not the connection.
pub(crate) fn is_of_channel(error: &lapin::Error) -> bool {
    matches!(error.kind(), lapin::ErrorKind::ProtocolError(error) if matches!(error.kind(), AMQPErrorKind::Soft(_)))
}

/// Whether the server says that something is not there.
pub(crate) fn is_not_found(error: &lapin::Error) -> bool {
    matches!(error.kind(), lapin::ErrorKind::ProtocolError(error)
        if matches!(error.kind(), AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND)))
}

/// Whether the server says that something exists with other settings, or belongs to somebody else.
pub(crate) fn is_mismatch(error: &lapin::Error) -> bool {
    matches!(error.kind(), lapin::ErrorKind::ProtocolError(error)
        if matches!(error.kind(), AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED)))
}

/// An error by which several messages failed, as the cause of the error of each.
#[derive(Debug)]
pub(crate) struct SharedError(pub(crate) Arc<Error>);

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&*self.0, f)
    }
}

impl std::error::Error for SharedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&*self.0)
    }
}
