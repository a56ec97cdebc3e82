//! Raw options: those of the transport options, and texts from the query of the address, which wins; and how they are
//! read.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::address::Address;
use crate::error::{Error, ErrorKind, Result};
use crate::option_value::{InvalidOption, OptionValue};

/// Options that are not read yet.
#[derive(Debug)]
pub struct RawOptions {
    options: BTreeMap<String, OptionValue>,
    address: Address,
    /// The names that were asked for, which are all that exist.
    names: Vec<&'static str>,
    /// Options that have no counterpart in the driver. They are accepted, so that Celery and Apium can share one
    /// configuration.
    without_meaning: &'static [&'static str],
    /// Whether no option is shown in errors: the query may be the end of a password with a `?` that was not encoded.
    hidden: bool,
}

impl RawOptions {
    /// The options of an address and its `transport_options`. Those `without_meaning` are accepted and not read.
    pub fn new(
        address: &Address,
        extra: &BTreeMap<String, OptionValue>,
        without_meaning: &'static [&'static str],
    ) -> Self {
        let mut options = extra.clone();
        let mut hidden = false;
        for part in address.secret_text().split(';') {
            let Some((_, query)) = part.split_once('?') else { continue };
            hidden |= query.contains('@');
            for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
                options.insert(name.into_owned(), value.into_owned().into());
            }
        }
        Self { options, address: address.clone(), names: Vec::new(), without_meaning, hidden }
    }

    /// Takes an option by its name.
    pub fn take(&mut self, name: &'static str) -> Option<OptionValue> {
        self.names.push(name);
        self.options.remove(name)
    }

    /// Takes a text. None is no text.
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>> {
        match self.take(name) {
            None | Some(OptionValue::None) => Ok(None),
            Some(value) => value.text().map(Some).map_err(|wrong| self.invalid(name, &value, &wrong.wanted)),
        }
    }

    /// Takes a number of seconds.
    pub fn seconds(&mut self, name: &'static str) -> Result<Option<Duration>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let read = value.seconds().ok().filter(|span| !span.is_zero());
        read.map(Some).ok_or_else(|| self.invalid(name, &value, "a number of seconds above 0"))
    }

    /// Takes a truth value.
    pub fn flag(&mut self, name: &'static str) -> Result<Option<bool>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.flag().map(Some).map_err(|wrong| self.invalid(name, &value, &wrong.wanted))
    }

    /// Takes a list of numbers from 0 to `largest`, ascending and each once. There must be one at least.
    pub fn steps(&mut self, name: &'static str, largest: u8) -> Result<Option<Vec<u8>>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let step = |number: i64| u8::try_from(number).ok().filter(|step| *step <= largest);
        let read: Option<Vec<u8>> = value.integers().ok().and_then(|numbers| numbers.into_iter().map(step).collect());
        let Some(mut steps) = read.filter(|steps| !steps.is_empty()) else {
            return Err(self.invalid(name, &value, &format!("numbers from 0 to {largest}")));
        };
        steps.sort_unstable();
        steps.dedup();
        Ok(Some(steps))
    }

    /// Takes one of several words; `read` gives its meaning.
    pub fn choice<T>(
        &mut self,
        name: &'static str,
        words: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let meant = value.text().ok().and_then(|word| read(&word));
        meant.map(Some).ok_or_else(|| self.invalid(name, &value, words))
    }

    /// Takes a table whose values are texts. Its names are `known`, and those that have no counterpart here.
    pub fn texts<const N: usize>(
        &mut self,
        name: &'static str,
        known: [&'static str; N],
    ) -> Result<Option<[Option<String>; N]>> {
        let mut table = match self.take(name) {
            None | Some(OptionValue::None) => return Ok(None),
            Some(value) => value.table().map_err(|wrong| self.unfit(name, &wrong))?,
        };
        let mut texts = [const { None }; N];
        for (inner, text) in known.into_iter().zip(&mut texts) {
            *text = match table.remove(inner) {
                None | Some(OptionValue::None) => None,
                Some(value) => Some(value.text().map_err(|wrong| self.unfit(&format!("{name}.{inner}"), &wrong))?),
            };
        }
        match table.keys().find(|inner| !self.without_meaning.contains(&inner.as_str())) {
            None => Ok(Some(texts)),
            Some(inner) => {
                let inner = if self.hidden { "**" } else { inner };
                let why = format!("the option {name} has no entry {inner:?}; there are {}", known.join(", "));
                Err(self.bad_address(&why))
            }
        }
    }

    /// The error for the value of an option that is no secret. A text or a number is shown.
    pub fn invalid(&self, name: &str, value: &OptionValue, wanted: &str) -> Error {
        let shown = match value {
            OptionValue::None | OptionValue::List(_) | OptionValue::Table(_) => value.kind().to_owned(),
            _ if self.hidden => "\"**\"".to_owned(),
            OptionValue::Text(text) => format!("{text:?}"),
            _ => value.text().unwrap_or_default(),
        };
        let context = format!("read the option {name} of {}: it is {shown} and must be {wanted}", self.address);
        Error::new(ErrorKind::Address, context)
    }

    /// The error for a value that may be a secret.
    fn unfit(&self, name: &str, wrong: &InvalidOption) -> Error {
        wrong.error(name, &self.address)
    }

    /// The error for an address.
    pub fn bad_address(&self, why: &str) -> Error {
        Error::new(ErrorKind::Address, format!("read the address {}: {why}", self.address))
    }

    /// Refuses options that were not asked for.
    pub fn refuse_unread(self) -> Result<()> {
        let unknown = self.options.keys().find(|name| !self.without_meaning.contains(&name.as_str()));
        let Some(unknown) = unknown else { return Ok(()) };
        let mut names = self.names.clone();
        names.sort_unstable();
        let names = names.join(", ");
        let unknown = if self.hidden { "**" } else { unknown };
        Err(self.bad_address(&format!("there is no option {unknown:?}; there are {names}")))
    }
}
