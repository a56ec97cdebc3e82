//! The mark of a redelivered message: it is added to an envelope or removed, and every other byte stays.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};
use crate::json::reader::{JsonReader, utf8};
use crate::message::envelope::REDELIVERED;

/// The paths of keys at which kombu puts the mark.
const PATHS: [&[&str]; 2] = [&["headers", REDELIVERED], &["properties", "delivery_info", REDELIVERED]];

/// Marks an envelope as kombu does when it returns it to its queue: `"redelivered": true` becomes the last key of the
/// headers and of the delivery info. Headers, properties and delivery info are created if they are missing or null.
/// Marking again changes nothing.
///
/// # Errors
/// [`ErrorKind::Decode`] if `raw`, the headers, the properties or the delivery info is not a JSON map.
pub fn mark_redelivered(raw: &[u8]) -> Result<Vec<u8>> {
    change(raw, mark)
}

/// Removes what [`mark_redelivered`] adds: the key `redelivered` of the headers and of the delivery info, whatever its
/// value.
///
/// # Errors
/// [`ErrorKind::Decode`] if `raw`, the headers, the properties or the delivery info is not a JSON map.
pub fn unmark_redelivered(raw: &[u8]) -> Result<Vec<u8>> {
    change(raw, unmark)
}

fn change(raw: &[u8], edit: impl Fn(&str, &[&str]) -> Result<String>) -> Result<Vec<u8>> {
    let [headers, delivery_info] = PATHS;
    let changed = utf8(raw).and_then(|text| edit(&edit(text, headers)?, delivery_info));
    changed.map(String::into_bytes).map_err(|e| e.within(ErrorKind::Decode, "the envelope"))
}

/// Sets the key at the end of `path` to true; creates the maps on the way.
fn mark(text: &str, path: &[&str]) -> Result<String> {
    let mut map = MapSpans::read(text, 0..text.len(), "the text")?;
    let mut out = text.to_owned();
    for (depth, key) in path.iter().enumerate() {
        let rest_of_path = &path[depth + 1..];
        let Some(value) = map.last(key) else {
            let (at, separator) = match map.entries.last() {
                Some(last) => (last.value.end, ", "),
                None => (map.open, ""),
            };
            out.insert_str(at, &format!("{separator}\"{key}\": {}", marked(rest_of_path)));
            return Ok(out);
        };
        if rest_of_path.is_empty() || &text[value.clone()] == "null" {
            out.replace_range(value, &marked(rest_of_path));
            return Ok(out);
        }
        map = MapSpans::read(text, value, key)?;
    }
    Ok(out)
}

/// The value to write for a key: true, inside of a map for each key of `path`.
fn marked(path: &[&str]) -> String {
    path.iter().rev().fold("true".to_owned(), |inner, key| format!("{{\"{key}\": {inner}}}"))
}

/// Removes the key at the end of `path`.
fn unmark(text: &str, path: &[&str]) -> Result<String> {
    let mut out = text.to_owned();
    let mut map = MapSpans::read(text, 0..text.len(), "the text")?;
    for key in path {
        if *key == REDELIVERED {
            // From the end, so that the ranges before stay valid.
            for cut in map.cuts(key).into_iter().rev() {
                out.replace_range(cut, "");
            }
            break;
        }
        match map.last(key) {
            Some(value) if &text[value.clone()] != "null" => map = MapSpans::read(text, value, key)?,
            _ => break,
        }
    }
    Ok(out)
}

/// Where the entries of a JSON map are in a text.
struct MapSpans<'a> {
    /// The position after the opening brace.
    open: usize,
    entries: Vec<EntrySpan<'a>>,
}

struct EntrySpan<'a> {
    key: Cow<'a, str>,
    /// The position of the key's opening quote.
    start: usize,
    value: Range<usize>,
}

impl<'a> MapSpans<'a> {
    fn read(text: &'a str, span: Range<usize>, name: &str) -> Result<Self> {
        let mut reader = JsonReader::new(&text[span.clone()]);
        if reader.peek() != b'{' {
            return Err(Error::new(ErrorKind::Decode, format!("find a JSON map in {name}, at byte {}", span.start)));
        }
        let open = span.start + reader.position() + 1;
        let mut before = open;
        let mut entries = Vec::new();
        reader.object(|key, reader| {
            // Between a value and the quote of the next key are only blanks and a comma.
            let start = before + text[before..].find('"').unwrap_or_default();
            let length = reader.raw()?.len();
            before = span.start + reader.position();
            entries.push(EntrySpan { key, start, value: before - length..before });
            Ok(())
        })?;
        reader.end()?;
        Ok(Self { open, entries })
    }

    /// Where the value of a key is. If a key comes twice, its last value counts.
    fn last(&self, key: &str) -> Option<Range<usize>> {
        self.entries.iter().rfind(|entry| entry.key == key).map(|entry| entry.value.clone())
    }

    /// The ranges to cut out to remove a key, each with the comma before it, or with the one after it if no entry stays
    /// before it.
    fn cuts(&self, key: &str) -> Vec<Range<usize>> {
        let is_cut = |entry: &&EntrySpan<'_>| entry.key == key;
        let leading = self.entries.iter().take_while(is_cut).count();
        let mut cuts = Vec::new();
        if leading > 0 {
            let end = self.entries.get(leading).map_or(self.entries[leading - 1].value.end, |next| next.start);
            cuts.push(self.entries[0].start..end);
        }
        let pairs = self.entries.iter().zip(self.entries.iter().skip(1)).skip(leading);
        cuts.extend(pairs.filter(|(_, entry)| is_cut(entry)).map(|(before, entry)| before.value.end..entry.value.end));
        cuts
    }
}
