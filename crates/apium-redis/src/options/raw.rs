//! Raw options: texts from the transport options and from the query of the address, which wins, and how they are read.

use std::collections::BTreeMap;
use std::time::Duration;

use apium_transport::address::Address;
use apium_transport::error::{Error, ErrorKind, Result};

/// Options of kombu and redis-py that have no counterpart here. They are accepted, so that Celery and Apium can share
/// one configuration.
const WITHOUT_MEANING: &[&str] = &[
    "client_name",
    "connection_class",
    "credential_provider",
    "encoding",
    "health_check_interval",
    "max_connections",
    "min_other_sentinels",
    "retry_on_timeout",
    "retry_policy",
    "socket_connect_timeout",
    "socket_keepalive",
    "socket_keepalive_options",
    "supports_fanout",
    "unacked_mutex_expire",
    "unacked_mutex_key",
    "unacked_restore_interval",
    "unacked_restore_limit",
    "unacked_restore_throttle",
];

/// Options that are not read yet.
#[derive(Debug)]
pub(crate) struct RawOptions {
    options: BTreeMap<String, String>,
    address: Address,
    /// The names that were asked for, which are all that exist.
    names: Vec<&'static str>,
    /// Whether no option is shown in errors: the query may be the end of a password with a `?` that was not encoded.
    hidden: bool,
}

impl RawOptions {
    pub(crate) fn new(address: &Address, extra: &BTreeMap<String, String>) -> Self {
        let mut options = extra.clone();
        let mut hidden = false;
        for part in address.secret_text().split(';') {
            let Some((_, query)) = part.split_once('?') else { continue };
            hidden |= query.contains('@');
            for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
                options.insert(name.into_owned(), value.into_owned());
            }
        }
        Self { options, address: address.clone(), names: Vec::new(), hidden }
    }

    /// Takes an option by its name.
    pub(crate) fn take(&mut self, name: &'static str) -> Option<String> {
        self.names.push(name);
        self.options.remove(name)
    }

    /// Takes a number of seconds.
    pub(crate) fn seconds(&mut self, name: &'static str) -> Result<Option<Duration>> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let read = text.trim().parse::<f64>().ok().filter(|seconds| *seconds > 0.0);
        let read = read.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        read.map(Some).ok_or_else(|| self.invalid(name, &text, "a number of seconds above 0"))
    }

    /// Takes a bool: `true`, `1`, `yes` or `on`; `false`, `0`, `no`, `off` or `none`.
    pub(crate) fn bool(&mut self, name: &'static str) -> Result<Option<bool>> {
        let Some(text) = self.take(name) else { return Ok(None) };
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(Some(true)),
            "false" | "0" | "no" | "off" | "none" => Ok(Some(false)),
            _ => Err(self.invalid(name, &text, "true or false")),
        }
    }

    /// The error for the value of an option.
    pub(crate) fn invalid(&self, name: &str, value: &str, wanted: &str) -> Error {
        let value = if self.hidden { "**" } else { value };
        let context = format!("read the option {name} of {}: it is {value:?} and must be {wanted}", self.address);
        Error::new(ErrorKind::Address, context)
    }

    /// The error for an address.
    pub(crate) fn bad_address(&self, why: &str) -> Error {
        Error::new(ErrorKind::Address, format!("read the address {}: {why}", self.address))
    }

    /// Refuses options that were not asked for.
    pub(crate) fn refuse_unread(self) -> Result<()> {
        let unknown = self.options.keys().find(|name| !WITHOUT_MEANING.contains(&name.as_str()));
        let Some(unknown) = unknown else { return Ok(()) };
        let mut names = self.names.clone();
        names.sort_unstable();
        let names = names.join(", ");
        let unknown = if self.hidden { "**" } else { unknown };
        Err(self.bad_address(&format!("there is no option {unknown:?}; there are {names}")))
    }
}
