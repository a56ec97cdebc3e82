//! Which content types may be decoded: Celery's `accept_content`.

use std::fmt;
use std::sync::Arc;

/// The serializers that may be decoded, by name (`json`) or MIME type (`application/json`). By default only json, as in
/// Celery.
#[derive(Debug, Clone, PartialEq)]
pub struct Accept {
    names: Arc<[String]>,
    /// Whether `names` has JSON, which nearly every message is.
    allows_json: bool,
}

impl Accept {
    /// A list of these names. They are checked only by [`check_accept`](crate::codecs::codecs::Codecs::check_accept).
    pub fn names<T: Into<String>>(names: impl IntoIterator<Item = T>) -> Self {
        let names: Arc<[String]> = names.into_iter().map(Into::into).collect();
        let allows_json =
            names.iter().any(|name| name.eq_ignore_ascii_case("json") || name.eq_ignore_ascii_case("application/json"));
        Self { names, allows_json }
    }

    /// The names, as they were given.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Whether the list has this name, in lower or upper case. `yaml` and `application/x-yaml` are two names here: the
    /// caller asks for both.
    pub fn allows(&self, name: &str) -> bool {
        self.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Whether JSON may be decoded.
    pub(crate) fn allows_json(&self) -> bool {
        self.allows_json
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
