//! Which content types may be decoded: Celery's `accept_content`.

use std::fmt;
use std::sync::Arc;

/// The serializers that may be decoded, by name (`json`) or MIME type (`application/json`). By default only json, as in
/// Celery.
#[derive(Debug, Clone, PartialEq)]
pub struct Accept {
    names: Arc<[String]>,
    json: bool,
}

impl Accept {
    /// A list of these names.
    pub fn names<T: Into<String>>(names: impl IntoIterator<Item = T>) -> Self {
        let names: Arc<[String]> = names.into_iter().map(Into::into).collect();
        let json =
            names.iter().any(|name| name.eq_ignore_ascii_case("json") || name.eq_ignore_ascii_case("application/json"));
        Self { names, json }
    }

    /// The names.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Whether a name is in the list, in lower or upper case. A name and its MIME type are not the same here.
    pub fn allows(&self, name: &str) -> bool {
        self.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Whether JSON may be decoded.
    pub(crate) fn json(&self) -> bool {
        self.json
    }
}

impl Default for Accept {
    fn default() -> Self {
        Self::names(["json"])
    }
}

impl fmt::Display for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.names.is_empty() {
            return f.write_str("empty");
        }
        f.write_str(&self.names.join(", "))
    }
}
