//! Where a broker or result backend is. Printing an address never shows its secrets (P18).

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// The address of a broker or result backend: a URL whose user info and query values are not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    text: String,
    scheme: String,
}

impl Address {
    /// Reads an address; `memory` and other bare schemes are taken as `memory://`.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or((text, ""));
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        if scheme.is_empty() || !scheme.chars().all(valid) {
            return Err(Error::new(
                ErrorKind::Address,
                "read the address: it has no scheme; write it as scheme://…, for example sqlite:///var/lib/app/queue.db",
            ));
        }
        let scheme = scheme.to_ascii_lowercase();
        Ok(Self { text: format!("{scheme}://{rest}"), scheme })
    }

    /// The scheme, in lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The whole text with its secrets, for the driver that connects.
    pub fn secret_text(&self) -> &str {
        &self.text
    }

    /// What stands behind `scheme://`, without the query, secrets included.
    pub fn rest(&self) -> &str {
        let rest = &self.text[self.scheme.len() + 3..];
        rest.split_once('?').map_or(rest, |(path, _)| path)
    }

    /// The query as given, without the question mark.
    pub fn query(&self) -> Option<&str> {
        self.text.split_once('?').map(|(_, query)| query)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = self.rest();
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let host = authority.rsplit_once('@').map(|(user, host)| (user.split(':').next().unwrap_or(""), host));
        match host {
            Some((user, host)) => write!(f, "{}://{user}:**@{host}{path}", self.scheme),
            None => write!(f, "{}://{authority}{path}", self.scheme),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}
