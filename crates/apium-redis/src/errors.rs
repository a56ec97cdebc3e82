//! From errors of the client library and answers of the server to the one error type.

use std::fmt;

use apium_transport::error::{Error, ErrorKind};
use redis::{RedisError, ServerErrorKind};

/// What an error of the server means: its kind, and what to do about it.
fn of_server(code: &str) -> (ErrorKind, &'static str) {
    match code {
        "LOADING" => (ErrorKind::Unavailable, "the server is loading its data; it will answer when it is done"),
        "READONLY" => (
            ErrorKind::Unavailable,
            "the server is a replica, as after a failover; the address must lead to the master",
        ),
        "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "NOREPLICAS" => {
            (ErrorKind::Unavailable, "the server has lost others of its group for now")
        }
        "OOM" => (ErrorKind::Unavailable, "its memory is full: raise maxmemory, or let results expire sooner"),
        "MISCONF" => (ErrorKind::Unavailable, "it cannot save to its disk and therefore takes no writes"),
        "BUSY" => (ErrorKind::Unavailable, "it is busy with a script"),
        "MOVED" | "ASK" => (ErrorKind::Unavailable, "another node of the cluster serves this now"),
        "NOAUTH" => {
            (ErrorKind::Refused, "it wants a password: write redis://:password@host or redis://user:password@host")
        }
        "WRONGPASS" => (ErrorKind::Refused, "user name or password are wrong"),
        "NOPERM" => {
            (ErrorKind::Refused, "the user may not do this: its ACL needs the commands and keys of the driver's page")
        }
        "WRONGTYPE" => (ErrorKind::Corrupt, "a key of that name is of another type: another program uses it"),
        _ => (ErrorKind::Other, ""),
    }
}

/// The code that an error of the server begins with. Errors from inside a script carry it in their text.
fn code(error: &RedisError) -> Option<&str> {
    const KNOWN: &[&str] = &["OOM", "WRONGTYPE", "READONLY", "NOPERM", "MISCONF", "NOREPLICAS"];
    let code = error.code()?;
    if !matches!(code, "ERR" | "EXECABORT") {
        return Some(code);
    }
    let detail = error.detail().unwrap_or_default();
    KNOWN
        .iter()
        .copied()
        .find(|known| detail.split(|c: char| !c.is_ascii_uppercase()).any(|word| word == *known))
        .or(Some(code))
}

/// An error of the client library as one of ours; `what` was attempted at `place`.
pub(crate) fn from_redis(what: &str, place: &dyn fmt::Display, error: RedisError) -> Error {
    let (kind, hint) = match code(&error) {
        Some(code) => of_server(code),
        None if error.is_timeout() => (ErrorKind::Timeout, ""),
        None => match error.kind() {
            redis::ErrorKind::Io => (ErrorKind::Connection, ""),
            redis::ErrorKind::AuthenticationFailed => (ErrorKind::Refused, "user name or password are wrong"),
            redis::ErrorKind::InvalidClientConfig => (ErrorKind::Address, ""),
            _ if error.is_unrecoverable_error() => (ErrorKind::Connection, ""),
            _ => (ErrorKind::Other, ""),
        },
    };
    let text = match hint {
        "" => format!("{what} at {place}"),
        hint => format!("{what} at {place}; {hint}"),
    };
    Error::new(kind, text).with_source(error)
}

/// The error of an answer that is not what the command promises.
pub(crate) fn odd_answer(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{what}: the server's answer is not what this command answers"))
}

/// Whether the connection is of no use any more after this error.
pub(crate) fn spoils_connection(error: &RedisError) -> bool {
    let moved = matches!(code(error), Some("READONLY" | "MOVED" | "ASK" | "MASTERDOWN" | "LOADING" | "NOAUTH"));
    moved || error.is_unrecoverable_error() || error.is_timeout() || error.is_io_error()
}

/// Whether the server does not know the script.
pub(crate) fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == redis::ErrorKind::Server(ServerErrorKind::NoScript)
}
