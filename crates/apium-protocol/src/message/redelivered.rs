//! The sign that a message was given back: put into an envelope and taken out of it, every other byte kept as it is.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};
use crate::json::reader::{JsonReader, utf8};
use crate::message::envelope::REDELIVERED;

/// Where kombu puts the sign.
const PLACES: [&[&str]; 2] = [&["headers", REDELIVERED], &["properties", "delivery_info", REDELIVERED]];

/// The envelope as kombu gives it back to its queue: `redelivered` is true in the headers and in the delivery info, last in
/// each. Headers, properties and delivery info are made where they are missing or null. Marking twice changes nothing.
///
/// # Errors
/// [`ErrorKind::Decode`] when `raw` or one of these is not a JSON map.
pub fn mark_redelivered(raw: &[u8]) -> Result<Vec<u8>> {
    change(raw, mark)
}

/// The envelope without what [`mark_redelivered`] put into it: the key `redelivered` of the headers and of the delivery info,
/// whatever its value.
///
/// # Errors
/// [`ErrorKind::Decode`] when `raw`, the headers, the properties or the delivery info is not a JSON map.
pub fn unmark_redelivered(raw: &[u8]) -> Result<Vec<u8>> {
    change(raw, unmark)
}

fn change(raw: &[u8], at: impl Fn(&str, &[&str]) -> Result<String>) -> Result<Vec<u8>> {
    let [headers, delivery_info] = PLACES;
    let changed = utf8(raw).and_then(|text| at(&at(text, headers)?, delivery_info));
    changed.map(String::into_bytes).map_err(|e| e.within(ErrorKind::Decode, "the envelope"))
}

fn mark(text: &str, path: &[&str]) -> Result<String> {
    let mut map = Map::read(text, 0..text.len(), "the text")?;
    let mut out = text.to_owned();
    for (depth, key) in path.iter().enumerate() {
        let inside = &path[depth + 1..];
        let Some(value) = map.last(key) else {
            let (at, separator) = match map.entries.last() {
                Some(last) => (last.value.end, ", "),
                None => (map.open, ""),
            };
            out.insert_str(at, &format!("{separator}\"{key}\": {}", marked(inside)));
            return Ok(out);
        };
        if inside.is_empty() || &text[value.clone()] == "null" {
            out.replace_range(value, &marked(inside));
            return Ok(out);
        }
        map = Map::read(text, value, key)?;
    }
    Ok(out)
}

/// The value that has the sign at the end of this path.
fn marked(path: &[&str]) -> String {
    path.iter().rev().fold("true".to_owned(), |inner, key| format!("{{\"{key}\": {inner}}}"))
}

fn unmark(text: &str, path: &[&str]) -> Result<String> {
    let mut out = text.to_owned();
    let mut map = Map::read(text, 0..text.len(), "the text")?;
    for key in path {
        if *key == REDELIVERED {
            // From behind, so that the places before stay right.
            for cut in map.cuts(key).into_iter().rev() {
                out.replace_range(cut, "");
            }
            break;
        }
        match map.last(key) {
            Some(value) if &text[value.clone()] != "null" => map = Map::read(text, value, key)?,
            _ => break,
        }
    }
    Ok(out)
}

/// Where the parts of a JSON map stand in a text.
struct Map<'a> {
    /// Right behind the opening brace.
    open: usize,
    entries: Vec<Entry<'a>>,
}

struct Entry<'a> {
    key: Cow<'a, str>,
    /// Where the key's opening quote stands.
    start: usize,
    value: Range<usize>,
}

impl<'a> Map<'a> {
    fn read(text: &'a str, span: Range<usize>, name: &str) -> Result<Self> {
        let mut reader = JsonReader::around(&text[span.clone()]);
        if reader.peek() != b'{' {
            return Err(Error::new(ErrorKind::Decode, format!("find a JSON map in {name}, at byte {}", span.start)));
        }
        let open = span.start + reader.place() + 1;
        let mut before = open;
        let mut entries = Vec::new();
        reader.object(|key, reader| {
            // Nothing but blanks and a comma stands between a value and the quote of the next key.
            let start = before + text[before..].find('"').unwrap_or_default();
            let length = reader.raw()?.len();
            before = span.start + reader.place();
            entries.push(Entry { key, start, value: before - length..before });
            Ok(())
        })?;
        reader.end()?;
        Ok(Self { open, entries })
    }

    /// Where the value of a key stands; of a key given twice the last counts.
    fn last(&self, key: &str) -> Option<Range<usize>> {
        self.entries.iter().rfind(|entry| entry.key == key).map(|entry| entry.value.clone())
    }

    /// What is to be cut so that the key is gone: with the comma before, or behind where nothing stays before.
    fn cuts(&self, key: &str) -> Vec<Range<usize>> {
        let goes = |entry: &&Entry<'_>| entry.key == key;
        let leading = self.entries.iter().take_while(goes).count();
        let mut cuts = Vec::new();
        if leading > 0 {
            let end = self.entries.get(leading).map_or(self.entries[leading - 1].value.end, |next| next.start);
            cuts.push(self.entries[0].start..end);
        }
        let pairs = self.entries.iter().zip(self.entries.iter().skip(1)).skip(leading);
        cuts.extend(pairs.filter(|(_, entry)| goes(entry)).map(|(before, entry)| before.value.end..entry.value.end));
        cuts
    }
}
