//! The addresses of brokers and result backends. Printing an address never shows its secrets.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// The address of a broker or result backend: a URL. Printing it shows the scheme, the user's name, the hosts and the
/// path. It hides the password, the query, and everything that could be a part of them.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    text: String,
    scheme: String,
}

impl Address {
    /// Reads an address. A scheme alone is an address too: `memory` is `memory://`.
    ///
    /// # Errors
    /// [`ErrorKind::Address`] if there is no valid scheme.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or((text, ""));
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        if scheme.is_empty() || !scheme.chars().all(valid) {
            return Err(Error::new(
                ErrorKind::Address,
                "read the address: it does not begin with a scheme and `://`; write it as sqlite:///var/lib/app/queue.db \
                 or redis://localhost:6379/0",
            ));
        }
        let scheme = scheme.to_ascii_lowercase();
        Ok(Self { text: format!("{scheme}://{rest}"), scheme })
    }

    /// The scheme, in lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The whole address with its secrets, for the driver that connects.
    pub fn secret_text(&self) -> &str {
        &self.text
    }

    /// What follows `scheme://`, without the query; contains secrets.
    pub fn location(&self) -> &str {
        let rest = &self.text[self.scheme.len() + 3..];
        rest.split_once('?').map_or(rest, |(path, _)| path)
    }

    /// The query, without the question mark.
    pub fn query(&self) -> Option<&str> {
        self.text.split_once('?').map(|(_, query)| query)
    }
}

/// What may be printed of what follows `scheme://`.
fn printable(text: &str, scheme: &str) -> String {
    // A path without a host has no user info, so an at sign in it means nothing.
    let path_only = text.starts_with('/');
    let (before, query) = text.split_once('?').map_or((text, ""), |(before, query)| (before, query));
    if !path_only && query.contains('@') {
        // The question mark may be a part of a password, or the at sign a part of the query: nothing is shown.
        return "**".to_owned();
    }
    if path_only || !before.contains('@') {
        return before.to_owned();
    }
    let parts: Vec<&str> = before.split(';').collect();
    let last = parts.len() - 1;
    // Where the first part has no at sign, it may be the beginning of a password with a semicolon.
    let is_list = parts[0].contains('@');
    let shown = |(index, part): (usize, &&str)| {
        // The scheme may stand once or before each server. Any other word before `://` may be a piece of a password.
        let has_scheme = index > 0 && part.strip_prefix(scheme).is_some_and(|rest| rest.starts_with("://"));
        let (scheme, part) = part.split_at(if has_scheme { scheme.len() + 3 } else { 0 });
        // The last at sign ends the user info, since a password may contain at signs.
        let (user_info, host) = match part.rsplit_once('@') {
            Some((user_info, host)) => (Some(user_info), host),
            None => (None, part),
        };
        if index < last && !(is_list && is_host_with_port(host)) || user_info.is_none() && !is_host_with_port(host) {
            return "**".to_owned();
        }
        match user_info.map(|user_info| user_info.split_once(':')) {
            None => format!("{scheme}{host}"),
            // What stands before a later at sign may be a piece of a password with a semicolon.
            Some(Some((user, _))) if index == 0 => format!("{scheme}{user}:**@{host}"),
            Some(_) => format!("{scheme}**@{host}"),
        }
    };
    parts.iter().enumerate().map(shown).collect::<Vec<_>>().join(";")
}

/// Whether a text is one server of a list, such as `sentinel-1:26379/0`, and not a piece of a password.
fn is_host_with_port(text: &str) -> bool {
    let (server, path) = text.split_once('/').unwrap_or((text, ""));
    let Some((host, port)) = server.rsplit_once(':') else { return false };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    !host.is_empty() && host.bytes().all(is_host) && !port.is_empty() && is_digits(port) && is_digits(path)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, printable(&self.text[self.scheme.len() + 3..], &self.scheme))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    fn parsed(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn parts_are_read() {
        let address = parsed(" SQLite:///var/q.db?a=b&c=/d?e \n");
        assert_eq!(address.scheme(), "sqlite");
        assert_eq!(address.location(), "/var/q.db");
        assert_eq!(address.query(), Some("a=b&c=/d?e"));
        assert_eq!(address.secret_text(), "sqlite:///var/q.db?a=b&c=/d?e");
        assert_eq!(parsed("redis://h").query(), None);
    }

    #[test]
    fn bare_schemes_are_whole_addresses() {
        for text in ["memory", "memory://", "MEMORY"] {
            assert_eq!(parsed(text), parsed("memory://"));
            assert_eq!(parsed(text).location(), "");
        }
    }

    #[test]
    fn odd_texts_are_refused_without_repeating_them() {
        for text in [
            "",
            "   ",
            "://secret",
            "redis//:secret@localhost",
            "redis:/secret",
            "user:secret@host",
            "/secret/path",
            "se cret://x",
            "sécret://x",
            "a_b://secret",
        ] {
            let error = Address::parse(text).unwrap_err();
            assert_eq!(error.kind(), crate::error::ErrorKind::Address);
            assert!(!format!("{error:#}").contains("cret"), "{error:#}");
        }
    }

    #[test]
    fn printing_hides_secrets_and_shows_the_rest() {
        for (text, printed) in [
            ("redis://localhost:6379/0", "redis://localhost:6379/0"),
            ("redis://user:secret@host/0", "redis://user:**@host/0"),
            ("redis://:secret@host/0", "redis://:**@host/0"),
            ("redis://secret@host/0", "redis://**@host/0"),
            ("amqp://u:sec/ret@host//", "amqp://u:**@host//"),
            ("amqp://u:sec@ret@host//", "amqp://u:**@host//"),
            ("amqp://u:sec:ret@host:5672/v", "amqp://u:**@host:5672/v"),
            ("amqp://u:sec#ret@host/v", "amqp://u:**@host/v"),
            ("amqp://u:sec?ret@host/v", "amqp://**"),
            ("amqp://u:p@x?secret@host", "amqp://**"),
            ("redis://host/0?password=secret", "redis://host/0"),
            ("redis://host/0?password=secret@x", "redis://**"),
            ("sentinel://:secret@a:1;sentinel://:secret@b:2", "sentinel://:**@a:1;sentinel://**@b:2"),
            ("sentinel://:secret@a:1;b:2;u:secret@[::1]:3/0", "sentinel://:**@a:1;b:2;**@[::1]:3/0"),
            ("sentinel://a:1;b:2", "sentinel://a:1;b:2"),
            ("redis://u:sec;ret@host/0", "redis://**;**@host/0"),
            ("redis://u:secret@a:1;sec/ret;u:secret@b:2", "redis://u:**@a:1;**;**@b:2"),
            ("rediss://u:secret@[::1]:6379/0", "rediss://u:**@[::1]:6379/0"),
            ("sqlite:///home/me@home/q.db", "sqlite:///home/me@home/q.db"),
            ("sqlite:///q.db?key=secret@x", "sqlite:///q.db"),
            ("memory://", "memory://"),
        ] {
            let address = parsed(text);
            assert_eq!(address.to_string(), printed);
            assert_eq!(format!("{address:?}"), format!("Address({printed})"));
        }
    }

    #[test]
    fn no_text_panics_and_no_password_is_printed() {
        let mut random = fastrand::Rng::with_seed(7);
        let pieces =
            ["@", ":", "/", "?", "#", "//", "://", "redis", "u", "ü", " ", "%40", ";", ",", "[", "]", "\0", ""];
        for _ in 0..20_000 {
            let mut piece = |most: usize| -> String {
                (0..random.usize(..=most)).map(|_| pieces[random.usize(..pieces.len())]).collect()
            };
            if let Ok(address) = Address::parse(&piece(12)) {
                let _ = (address.to_string(), address.location(), address.query(), address.secret_text());
            }
            // Whatever else the password contains, its secret part is not printed.
            let text = format!("redis://user:{}SECRET{}@host/{}", piece(3), piece(3), piece(2));
            let printed = Address::parse(&text).unwrap().to_string();
            assert!(!printed.contains("SECRET"), "{text:?} prints as {printed:?}");
        }
    }
}
