//! The fields of a worker's answer. Those that every worker has are read into types, and the others are kept as JSON,
//! since workers of other versions and languages have other ones.

use std::collections::BTreeMap;

use apium_protocol::error::{Error, ErrorKind, Result};
use apium_protocol::json::text::Json;
use serde::de::DeserializeOwned;

/// The fields of a map, of which some are taken out.
#[derive(Debug)]
pub(crate) struct Fields(BTreeMap<String, Json>);

impl Fields {
    /// The fields of a map; `what` is what it describes.
    pub(crate) fn of(what: &str, map: &Json) -> Result<Self> {
        map.decode().map(Self).map_err(|error| unreadable(what, error))
    }

    /// Takes a field out; `None` where it is missing or null.
    ///
    /// # Errors
    /// If it does not fit the type.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>> {
        match self.0.remove(name).filter(|value| !value.is_null()) {
            Some(value) => value.decode().map(Some).map_err(|error| unreadable(&format!("`{name}`"), error)),
            None => Ok(None),
        }
    }

    /// Takes a field out, or its type's default where it is missing or null.
    pub(crate) fn take_or_default<T: DeserializeOwned + Default>(&mut self, name: &str) -> Result<T> {
        Ok(self.take(name)?.unwrap_or_default())
    }

    /// Takes a number out, which may be written as a text, as Celery writes its clock.
    pub(crate) fn take_count(&mut self, name: &str) -> Result<Option<u64>> {
        let Some(value) = self.take::<Json>(name)? else { return Ok(None) };
        let digits = value.as_str().trim_matches('"');
        let count = digits.parse().ok().or_else(|| {
            digits.parse().ok().filter(|number: &f64| *number >= 0.0 && number.is_finite()).map(|number| number as u64)
        });
        count
            .map(Some)
            .ok_or_else(|| Error::new(ErrorKind::Decode, format!("read `{name}`: {} is no count", value.to_utf8())))
    }

    /// The fields that were not taken out.
    pub(crate) fn others(self) -> BTreeMap<String, Json> {
        self.0
    }
}

fn unreadable(what: &str, source: Error) -> Error {
    Error::new(ErrorKind::Decode, format!("read {what}")).with_source(source)
}
