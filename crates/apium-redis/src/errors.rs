//! From errors of the client library and answers of the server to the one error type.

use std::fmt;

use apium_transport::error::{Error, ErrorKind};
use redis::{RedisError, ServerErrorKind};

const NO_PERMISSION: (ErrorKind, &str) =
    (ErrorKind::Refused, "the user may not do this: its ACL needs the commands and keys of the driver's page");

/// What an error of the server means: its kind, and what to do about it.
fn of_server(told: &ServerError) -> (ErrorKind, &'static str) {
    match told.code.as_str() {
        "LOADING" => (ErrorKind::Unavailable, "the server is loading its data; it will answer when it is done"),
        "READONLY" | "UNBLOCKED" => (
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
        "NOPERM" => NO_PERMISSION,
        "DENIED" => (ErrorKind::Refused, "it serves its own machine only until it has a password"),
        "WRONGTYPE" => (ErrorKind::Corrupt, "a key is of another type than here, as if another program used it"),
        "ERR" => of_text(&told.detail),
        _ => (ErrorKind::Other, ""),
    }
}

/// What an error without a code of its own means.
fn of_text(text: &str) -> (ErrorKind, &'static str) {
    match text {
        text if text.contains("max number of clients") => {
            (ErrorKind::Unavailable, "it has as many connections as it takes: raise maxclients, or start fewer workers")
        }
        text if text.contains("DB index is out of range") => {
            (ErrorKind::Refused, "it has no database of this number; its option databases says how many there are")
        }
        text if text.contains("without any password configured") => {
            (ErrorKind::Refused, "it has no password: take the one in the address away")
        }
        text if text.contains("user executing the script can't") => NO_PERMISSION,
        // A script that touches what another node of the cluster has now.
        text if text.contains("non local key") => {
            (ErrorKind::Unavailable, "another node of the cluster serves this now")
        }
        _ => (ErrorKind::Other, ""),
    }
}

/// An error as the server told it.
#[derive(Debug)]
struct ServerError {
    code: String,
    detail: String,
    /// Of a pipeline, which of its commands failed first.
    command_index: usize,
}

/// What the server told. Errors from inside a script carry their code in their text.
fn server_error(error: &RedisError) -> Option<ServerError> {
    const KNOWN: &[&str] = &["OOM", "WRONGTYPE", "READONLY", "NOPERM", "MISCONF", "NOREPLICAS"];
    let errors = error.clone().into_server_errors();
    let (place, code, detail) = match errors.as_deref() {
        Some([(place, first), ..]) => (*place, first.code(), first.details()),
        _ => (0, error.code()?, error.detail()),
    };
    let detail = detail.unwrap_or_default();
    // Redis 6 begins with the place in the script.
    let inner = (matches!(code, "ERR" | "EXECABORT") || code.starts_with('@')).then(|| {
        let words = |known: &str| detail.split(|c: char| !c.is_ascii_uppercase()).any(|word| word == known);
        KNOWN.iter().copied().find(|known| words(known))
    });
    let code = inner.flatten().unwrap_or(code).to_owned();
    Some(ServerError { code, detail: detail.to_owned(), command_index: place })
}

/// Of a pipeline, which command failed because of its key: it is of another type.
pub(crate) fn wrong_key_type(error: &RedisError) -> Option<usize> {
    server_error(error).filter(|told| told.code == "WRONGTYPE").map(|told| told.command_index)
}

/// An error of the client library as one of ours; `what` was attempted at `place`.
pub(crate) fn from_redis(what: &str, place: &dyn fmt::Display, error: RedisError) -> Error {
    let (kind, hint) = match server_error(&error) {
        Some(told) => of_server(&told),
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
pub(crate) fn unexpected_reply(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{what}: the server's answer is not what this command answers"))
}

/// Whether the connection is of no use any more after this error.
pub(crate) fn breaks_connection(error: &RedisError) -> bool {
    const MOVED: &[&str] = &["READONLY", "UNBLOCKED", "MOVED", "ASK", "MASTERDOWN", "LOADING", "NOAUTH"];
    let moved = server_error(error)
        .is_some_and(|told| MOVED.contains(&told.code.as_str()) || told.detail.contains("non local key"));
    moved || error.is_unrecoverable_error() || error.is_timeout() || error.is_io_error()
}

/// Whether the server has no memory for it.
pub(crate) fn is_out_of_memory(error: &RedisError) -> bool {
    server_error(error).is_some_and(|told| told.code == "OOM")
}

/// Whether the server does not know the script.
pub(crate) fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == redis::ErrorKind::Server(ServerErrorKind::NoScript)
}
