//! How errors of the client library and of the server become the one error type.

use std::fmt;

use apium_transport::error::{Error, ErrorKind};
use redis::{RedisError, ServerErrorKind};

const NO_PERMISSION: (ErrorKind, &str) =
    (ErrorKind::Refused, "the user may not do this: its ACL needs the commands and keys of the driver's page");

/// The errors of the server by their codes: what each means for the operation, and what to do about it. `docs/REDIS.md`
/// says the same to readers.
const BY_CODE: &[(&str, (ErrorKind, &str))] = &[
    ("LOADING", (ErrorKind::Unavailable, "the server is loading its data; it will answer when it is done")),
    ("READONLY", REPLICA),
    ("UNBLOCKED", REPLICA),
    ("MASTERDOWN", ALONE),
    ("CLUSTERDOWN", ALONE),
    ("TRYAGAIN", ALONE),
    ("NOREPLICAS", ALONE),
    ("OOM", (ErrorKind::Unavailable, "its memory is full: raise maxmemory, or let results expire sooner")),
    ("MISCONF", (ErrorKind::Unavailable, "it cannot save to its disk and therefore takes no writes")),
    ("BUSY", (ErrorKind::Unavailable, "it is busy with a script")),
    ("MOVED", MOVED),
    ("ASK", MOVED),
    ("NOAUTH", (ErrorKind::Refused, "it wants a password: write redis://:password@host or redis://user:password@host")),
    ("WRONGPASS", (ErrorKind::Refused, "user name or password are wrong")),
    ("NOPERM", NO_PERMISSION),
    ("DENIED", (ErrorKind::Refused, "it serves its own machine only until it has a password")),
    ("WRONGTYPE", (ErrorKind::Corrupt, "a key is of another type than here, as if another program used it")),
];

/// Errors without a code of their own, by a part of their texts.
const BY_TEXT: &[(&str, (ErrorKind, &str))] = &[
    (
        "max number of clients",
        (ErrorKind::Unavailable, "it has as many connections as it takes: raise maxclients, or start fewer workers"),
    ),
    (
        "DB index is out of range",
        (ErrorKind::Refused, "it has no database of this number; its option databases says how many there are"),
    ),
    ("without any password configured", (ErrorKind::Refused, "it has no password: take the one in the address away")),
    ("user executing the script can't", NO_PERMISSION),
    // A script used a key that another node of the cluster has now.
    ("non local key", MOVED),
    (INVALID_LENGTH, (ErrorKind::TooLarge, "a value is larger than its option proto-max-bulk-len allows")),
];

const REPLICA: (ErrorKind, &str) =
    (ErrorKind::Unavailable, "the server is a replica, as after a failover; the address must lead to the master");
const ALONE: (ErrorKind, &str) = (ErrorKind::Unavailable, "the server has lost others of its group for now");
const MOVED: (ErrorKind, &str) = (ErrorKind::Unavailable, "another node of the cluster serves this now");

/// The server closes the connection after this error.
const INVALID_LENGTH: &str = "invalid bulk length";

/// What an error of the server means: its kind, and what to do about it.
fn of_server(error: &ServerError) -> (ErrorKind, &'static str) {
    let found = match error.code.as_str() {
        "ERR" => BY_TEXT.iter().find(|(text, _)| error.detail.contains(text)),
        code => BY_CODE.iter().find(|(known, _)| *known == code),
    };
    found.map_or((ErrorKind::Other, ""), |(_, meaning)| *meaning)
}

/// An error that the server answered. As a cause it is what the server said: the library names the place in the
/// pipeline, and every other error of it.
#[derive(Debug)]
struct ServerError {
    code: String,
    detail: String,
    /// Which command of a pipeline failed first.
    command_index: usize,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.as_str(), self.detail.as_str()) {
            // An error inside a script has its code in its text.
            (code, detail) if detail.contains(code) => f.write_str(detail),
            (code, "") => f.write_str(code),
            (code, detail) => write!(f, "{code} {detail}"),
        }
    }
}

impl std::error::Error for ServerError {}

/// The error that the server answered, if it was the server. An error inside a script has its code in its text.
fn server_error(error: &RedisError) -> Option<ServerError> {
    const IN_SCRIPTS: &[&str] = &["OOM", "WRONGTYPE", "READONLY", "NOPERM", "MISCONF", "NOREPLICAS"];
    let errors = error.clone().into_server_errors();
    let (command_index, code, detail) = match errors.as_deref() {
        Some([(index, first), ..]) => (*index, first.code(), first.details()),
        _ => (0, error.code()?, error.detail()),
    };
    let detail = detail.unwrap_or_default();
    // Redis 6 puts the position in the script first.
    let inner = (matches!(code, "ERR" | "EXECABORT") || code.starts_with('@')).then(|| {
        let has = |code: &str| detail.split(|c: char| !c.is_ascii_uppercase()).any(|word| word == code);
        IN_SCRIPTS.iter().copied().find(|code| has(code))
    });
    let code = inner.flatten().unwrap_or(code).to_owned();
    Some(ServerError { code, detail: detail.to_owned(), command_index })
}

/// The index in the pipeline of a command that failed because its key has another type.
pub(crate) fn wrong_key_type(error: &RedisError) -> Option<usize> {
    server_error(error).filter(|error| error.code == "WRONGTYPE").map(|error| error.command_index)
}

/// Converts an error of the client library: `what` was attempted at `server`.
pub(crate) fn from_redis(what: &str, server: &dyn fmt::Display, error: RedisError) -> Error {
    convert(what, server, error, "")
}

/// The same for a new connection, with or without TLS: the server may speak the other way.
pub(crate) fn from_connecting(what: &str, server: &dyn fmt::Display, error: RedisError, has_tls: bool) -> Error {
    // The library counts a refused connection as a dropped one too.
    let is_dropped = error.is_connection_dropped() && !error.is_connection_refusal();
    let hint = match has_tls {
        true if error.is_timeout() || is_dropped || error.to_string().contains("InvalidContentType") => {
            "it does not seem to speak TLS at this port: the scheme without TLS is redis://"
        }
        false if is_dropped || error.kind() == redis::ErrorKind::Parse => {
            "it does not seem to speak Redis's protocol at this port; if it wants TLS there, the scheme is rediss://"
        }
        _ => "",
    };
    convert(what, server, error, hint)
}

fn convert(what: &str, server: &dyn fmt::Display, error: RedisError, of_connection: &'static str) -> Error {
    let answer = server_error(&error);
    let (kind, hint) = match &answer {
        Some(error) => of_server(error),
        None if error.is_timeout() => (ErrorKind::Timeout, ""),
        None => match error.kind() {
            redis::ErrorKind::Io => (ErrorKind::Connection, ""),
            redis::ErrorKind::AuthenticationFailed => (ErrorKind::Refused, "user name or password are wrong"),
            redis::ErrorKind::InvalidClientConfig => (ErrorKind::Address, ""),
            _ if error.is_unrecoverable_error() => (ErrorKind::Connection, ""),
            _ => (ErrorKind::Other, ""),
        },
    };
    let text = match if hint.is_empty() { of_connection } else { hint } {
        "" => format!("{what} at {server}"),
        hint => format!("{what} at {server}; {hint}"),
    };
    match answer {
        Some(answer) => Error::new(kind, text).with_source(answer),
        None => Error::new(kind, text).with_source(error),
    }
}

/// The error of a reply that the command cannot have.
pub(crate) fn unexpected_reply(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{what}: the server answered something else than this command does"))
}

/// Whether the connection cannot be used after this error.
pub(crate) fn breaks_connection(error: &RedisError) -> bool {
    const ELSEWHERE: &[&str] = &["READONLY", "UNBLOCKED", "MOVED", "ASK", "MASTERDOWN", "LOADING", "NOAUTH"];
    let elsewhere = server_error(error).is_some_and(|error| {
        let texts = ["non local key", INVALID_LENGTH];
        ELSEWHERE.contains(&error.code.as_str()) || texts.iter().any(|text| error.detail.contains(text))
    });
    elsewhere || error.is_unrecoverable_error() || error.is_timeout() || error.is_io_error()
}

/// Whether the server refused it for lack of memory.
pub(crate) fn is_out_of_memory(error: &RedisError) -> bool {
    server_error(error).is_some_and(|error| error.code == "OOM")
}

/// Whether the server refused it because one value is too large.
pub(crate) fn is_too_large(error: &RedisError) -> bool {
    server_error(error).is_some_and(|error| error.detail.contains(INVALID_LENGTH))
}

/// Whether the server does not know the script.
pub(crate) fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == redis::ErrorKind::Server(ServerErrorKind::NoScript)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use redis::Value;

    use super::*;

    /// The error that a server answers with this line.
    fn answered(line: &str) -> RedisError {
        match redis::parse_redis_value(format!("-{line}\r\n").as_bytes()) {
            Ok(Value::ServerError(error)) => error.into(),
            Ok(other) => panic!("{line:?} is no error but {other:?}"),
            Err(error) => error,
        }
    }

    /// The rows of the table of the driver's page: the errors in the first column, and the kind in the second.
    fn rows_of_the_page() -> Vec<(Vec<String>, String)> {
        let page = include_str!("../../../docs/REDIS.md");
        let section = page.split("\n## Errors of the server\n").nth(1).unwrap().split("\n## ").next().unwrap();
        let in_code = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        rows.map(|row| {
            let cells: Vec<&str> = row.split('|').collect();
            (in_code(cells[1]), in_code(cells[2]).remove(0))
        })
        .collect()
    }

    #[test]
    fn the_page_says_what_each_error_of_the_server_means() {
        let mut on_page = BTreeSet::new();
        for (errors, kind) in rows_of_the_page() {
            for line in errors {
                for text in [line.clone(), format!("{line} and more")] {
                    let error = from_redis("do it", &"here", answered(&text));
                    assert_eq!(format!("{:?}", error.kind()), kind, "{text}");
                    assert_ne!(error.to_string(), "do it at here", "{text} has advice");
                }
                on_page.insert(line);
            }
        }
        for (code, _) in BY_CODE {
            assert!(on_page.contains(*code), "the page lacks {code}");
        }
        for (text, _) in BY_TEXT {
            assert!(on_page.iter().any(|line| line.contains(text)), "the page lacks {text:?}");
        }
    }

    #[test]
    fn an_error_inside_a_script_means_the_same() {
        for (text, code) in [
            ("ERR Error running script: @user_script:7: WRONGTYPE Operation against a key", "WRONGTYPE"),
            ("OOM command not allowed when used memory > 'maxmemory'. script: x, on @user_script:1.", "OOM"),
        ] {
            assert_eq!(server_error(&answered(text)).unwrap().code, code);
        }
    }
}
