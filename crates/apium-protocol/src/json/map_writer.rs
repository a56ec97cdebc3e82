//! Writing of JSON maps and lists.

use std::collections::BTreeMap;

use crate::json::text::Json;
use crate::json::write::{write_f64, write_int, write_str};

/// A key that needs no escapes, and the text before its value.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// With the comma before it.
    pub(crate) text: &'static str,
}

/// A key of a map, from its name.
macro_rules! key {
    ($name:literal) => {
        $crate::json::map_writer::Key { name: $name, text: concat!(", \"", $name, "\": ") }
    };
}

pub(crate) use key;

/// Writes the keys and values of a map. A key in `extra` replaces the one of the same name, and comes last.
pub(crate) struct MapWriter<'a> {
    out: &'a mut Vec<u8>,
    extra: &'a BTreeMap<String, Json>,
    first: bool,
}

// A message has some forty keys. Where a key is inlined, its length is known, and copying it costs next to nothing.
impl<'a> MapWriter<'a> {
    /// Begins a map.
    pub(crate) fn new(out: &'a mut Vec<u8>, extra: &'a BTreeMap<String, Json>) -> Self {
        out.push(b'{');
        Self { out, extra, first: true }
    }

    /// Writes a key, unless `extra` has it. The caller writes its value next.
    #[inline(always)]
    pub(crate) fn key(&mut self, key: Key) -> Option<&mut Vec<u8>> {
        if !self.extra.is_empty() && self.extra.contains_key(key.name) {
            return None;
        }
        if self.first {
            self.out.extend_from_slice(&key.text.as_bytes()[2..]);
            self.first = false;
        } else {
            self.out.extend_from_slice(key.text.as_bytes());
        }
        Some(self.out)
    }

    /// Writes a key, and its value with `write`, unless `extra` has the key.
    #[inline(always)]
    pub(crate) fn with(&mut self, key: Key, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(out) = self.key(key) {
            write(out);
        }
    }

    /// Writes a key with a text, or with null.
    #[inline(always)]
    pub(crate) fn text(&mut self, key: Key, text: Option<&str>) {
        self.with(key, |out| write_text(out, text));
    }

    /// Writes a key with a text, if there is one.
    #[inline(always)]
    pub(crate) fn text_if(&mut self, key: Key, text: Option<&str>) {
        if text.is_some() {
            self.text(key, text);
        }
    }

    /// Writes a key with an integer, or with null.
    #[inline(always)]
    pub(crate) fn int(&mut self, key: Key, value: Option<i64>) {
        self.with(key, |out| match value {
            Some(value) => write_int(out, value),
            None => out.extend_from_slice(b"null"),
        });
    }

    /// Writes a key with a boolean, or with null.
    #[inline(always)]
    pub(crate) fn bool(&mut self, key: Key, value: Option<bool>) {
        self.with(key, |out| {
            out.extend_from_slice(match value {
                Some(true) => b"true",
                Some(false) => b"false",
                None => b"null",
            });
        });
    }

    /// Writes `extra`. More keys may follow.
    pub(crate) fn extra(&mut self) {
        for (key, value) in self.extra {
            self.out.extend_from_slice(if self.first { b"" } else { b", " });
            self.first = false;
            write_str(self.out, key);
            self.out.extend_from_slice(b": ");
            self.out.extend_from_slice(value.as_bytes());
        }
    }

    /// Ends the map.
    pub(crate) fn end(self) {
        self.out.push(b'}');
    }
}

/// Writes a text, or null.
pub(crate) fn write_text(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => write_str(out, text),
        None => out.extend_from_slice(b"null"),
    }
}

/// Writes seconds, as an integer if they are whole, or null.
pub(crate) fn write_seconds(out: &mut Vec<u8>, seconds: Option<f64>) {
    match seconds {
        Some(seconds) if seconds.fract() == 0.0 && seconds.abs() < 1e15 => write_int(out, seconds as i64),
        Some(seconds) => write_f64(out, seconds),
        None => out.extend_from_slice(b"null"),
    }
}

/// Writes a list, each element with `write`.
pub(crate) fn write_list<T>(out: &mut Vec<u8>, items: &[T], mut write: impl FnMut(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        write(out, item);
    }
    out.push(b']');
}

/// Writes a list of JSON values, each one unchanged.
pub(crate) fn write_jsons(out: &mut Vec<u8>, items: &[Json]) {
    write_list(out, items, |out, json| out.extend_from_slice(json.as_bytes()));
}

/// Writes a map in the order of `entries`.
pub(crate) fn write_entries<'a>(out: &mut Vec<u8>, entries: impl IntoIterator<Item = (&'a String, &'a Json)>) {
    out.push(b'{');
    for (i, (key, value)) in entries.into_iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        write_str(out, key);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
    }
    out.push(b'}');
}
