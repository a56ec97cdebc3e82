//! The mark of a redelivered message: put into an envelope or removed from it, with every other byte unchanged.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};
use crate::json::reader::{JsonReader, utf8};
use crate::message::envelope::REDELIVERED;

/// Where kombu puts the mark.
const PLACES: [&[&str]; 2] = [&["headers", REDELIVERED], &["properties", "delivery_info", REDELIVERED]];

/// The envelope as kombu returns it to its queue: the headers and the delivery info have `redelivered` as their last
/// key, which is true. Headers, properties and delivery info are created if they are missing or null. Marking again
/// changes nothing.
///
/// # Errors
/// [`ErrorKind::Decode`] if `raw` or one of these is not a JSON map.
pub fn mark_redelivered(raw: &[u8]) -> Result<Vec<u8>> {
    change(raw, mark)
}

/// The envelope without the mark of [`mark_redelivered`]: without the key `redelivered` in the headers and in the
/// delivery info, whatever its value.
///
/// # Errors
/// [`ErrorKind::Decode`] if `raw`, the headers, the properties or the delivery info is not a JSON map.
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

/// A value with the mark at the end of this path.
fn marked(path: &[&str]) -> String {
    path.iter().rev().fold("true".to_owned(), |inner, key| format!("{{\"{key}\": {inner}}}"))
}

fn unmark(text: &str, path: &[&str]) -> Result<String> {
    let mut out = text.to_owned();
    let mut map = Map::read(text, 0..text.len(), "the text")?;
    for key in path {
        if *key == REDELIVERED {
            // From the end, so that the ranges before stay valid.
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

/// Where the parts of a JSON map are in a text.
struct Map<'a> {
    /// The position after the opening brace.
    open: usize,
    entries: Vec<Entry<'a>>,
}

struct Entry<'a> {
    key: Cow<'a, str>,
    /// The position of the key's opening quote.
    start: usize,
    value: Range<usize>,
}

impl<'a> Map<'a> {
    fn read(text: &'a str, span: Range<usize>, name: &str) -> Result<Self> {
        let mut reader = JsonReader::around(&text[span.clone()]);
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
            entries.push(Entry { key, start, value: before - length..before });
            Ok(())
        })?;
        reader.end()?;
        Ok(Self { open, entries })
    }

    /// Where the value of a key is. If a key comes twice, its last value counts.
    fn last(&self, key: &str) -> Option<Range<usize>> {
        self.entries.iter().rfind(|entry| entry.key == key).map(|entry| entry.value.clone())
    }

    /// The ranges to be cut to remove a key: with the comma before it, or after it if nothing stays before it.
    fn cuts(&self, key: &str) -> Vec<Range<usize>> {
        let is_cut = |entry: &&Entry<'_>| entry.key == key;
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
