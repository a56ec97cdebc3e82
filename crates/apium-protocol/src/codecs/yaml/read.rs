//! Reading YAML: the events of the parser become values.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, StrInput, Tag};

use crate::codecs::yaml::scalar;
use crate::codecs::yaml::yaml::fail;
use crate::error::Result;
use crate::json::base64;
use crate::value::parse::{key_text, without_duplicates};
use crate::value::value::Value;

/// How deep lists and maps may nest. PyYAML, which writes and reads by recursion, gets about as deep.
const MAX_DEPTH: usize = 256;

/// How many values a text may contain, with its aliases expanded. Without a limit, a small text could expand to
/// billions.
const MAX_VALUES: usize = 1 << 20;

/// The prefix of YAML's own tags.
const CORE: &str = "tag:yaml.org,2002:";

/// Reads one document. Half a surrogate pair becomes U+FFFD, as in JSON.
pub(crate) fn read(text: &str) -> Result<Value> {
    read_document(text).or_else(|error| match without_halves(text) {
        Some(text) => read_document(&text),
        None => Err(error),
    })
}

/// The text with `\uFFFD` for each half of a surrogate pair that stands alone, as PyYAML writes one: the parser refuses
/// such an escape. `None` if there is none.
///
/// PyYAML writes a character beyond U+FFFF as one `\U` with eight digits, so each `\ud800` to `\udfff` is a half.
fn without_halves(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut found = false;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let digits = escape.strip_prefix("\\u").and_then(|digits| digits.get(..4));
        let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let length = if unit.is_some_and(|unit| (0xd800..=0xdfff).contains(&unit)) {
            found = true;
            out.push_str("\\uFFFD");
            6
        } else {
            // The backslash and the character that it escapes, which may be a backslash too.
            let length = 1 + escape[1..].chars().next().map_or(0, char::len_utf8);
            out.push_str(&escape[..length]);
            length
        };
        rest = &escape[length..];
    }
    out.push_str(rest);
    found.then_some(out)
}

fn read_document(text: &str) -> Result<Value> {
    let mut builder = Builder { parser: Parser::new_from_str(text), anchors: HashMap::new(), values: 0 };
    let value = match builder.next_in_stream()? {
        Event::StreamEnd => Value::Null,
        Event::DocumentStart(..) => {
            let first = builder.next()?;
            builder.value(first, MAX_DEPTH)?
        }
        _ => return fail("a document is missing"),
    };
    match builder.next_in_stream()? {
        Event::StreamEnd => Ok(value),
        _ => fail("there is more than one document"),
    }
}

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// The values with an anchor, each with the number of values that it consists of.
    anchors: HashMap<usize, (Value, usize)>,
    /// How many values there are so far, aliases expanded.
    values: usize,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<Event<'a>> {
        match self.parser.next_event() {
            Some(Ok((event, _))) => Ok(event),
            Some(Err(e)) => fail(e),
            None => Ok(Event::StreamEnd),
        }
    }

    /// The next event between documents: the start of a document, or the end of the stream.
    fn next_in_stream(&mut self) -> Result<Event<'a>> {
        loop {
            match self.next()? {
                Event::StreamStart | Event::DocumentEnd => {}
                event => return Ok(event),
            }
        }
    }

    /// Counts more values; fails when there are too many.
    fn count(&mut self, values: usize) -> Result<()> {
        self.values += values;
        if self.values > MAX_VALUES { fail("it contains too many values, with its aliases expanded") } else { Ok(()) }
    }

    fn value(&mut self, event: Event<'a>, depth: usize) -> Result<Value> {
        let before = self.values;
        self.count(1)?;
        let (value, anchor) = match event {
            Event::Alias(anchor) => {
                let Some((_, size)) = self.anchors.get(&anchor) else {
                    return fail("an alias is inside its own anchor");
                };
                self.count(*size)?;
                return Ok(self.anchors[&anchor].0.clone());
            }
            Event::Scalar(text, style, anchor, tag) => (scalar_value(&text, style, tag.as_deref())?, anchor),
            Event::SequenceStart(_, anchor, tag) => (self.list(tag.as_deref(), depth)?, anchor),
            Event::MappingStart(_, anchor, tag) => (self.map(tag.as_deref(), depth)?, anchor),
            _ => return fail("a value is missing"),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, (value.clone(), self.values - before));
        }
        Ok(value)
    }

    fn list(&mut self, tag: Option<&Tag>, depth: usize) -> Result<Value> {
        if depth == 0 {
            return fail("the value nests too deep to be decoded");
        }
        if !matches!(core_tag(tag)?, None | Some("seq")) {
            return refuse(tag);
        }
        let mut list = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(Value::List(list)),
                event => list.push(self.value(event, depth - 1)?),
            }
        }
    }

    fn map(&mut self, tag: Option<&Tag>, depth: usize) -> Result<Value> {
        if depth == 0 {
            return fail("the value nests too deep to be decoded");
        }
        let kind = core_tag(tag)?;
        if !matches!(kind, None | Some("map" | "set")) {
            return refuse(tag);
        }
        let (mut merged, mut entries) = (Vec::new(), Vec::new());
        loop {
            let event = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let merges = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let key = self.value(event, depth - 1)?;
            let event = self.next()?;
            let value = self.value(event, depth - 1)?;
            if merges {
                merge(&mut merged, value)?;
                continue;
            }
            let kind = key.kind();
            match key_text(key) {
                Some(key) => entries.push((key, value)),
                None => return fail(format_args!("{kind} cannot be a key")),
            }
        }
        if kind == Some("set") {
            return Ok(Value::List(entries.into_iter().map(|(key, _)| Value::Str(key)).collect()));
        }
        Ok(Value::Map(with_merged(without_duplicates(entries), merged)))
    }
}

/// Adds the entries that `<<` merges to a map's own. An entry of the map itself goes before a merged one with the same
/// key, and of several merged ones the first counts.
fn with_merged(mut entries: Vec<(String, Value)>, mut merged: Vec<(String, Value)>) -> Vec<(String, Value)> {
    if !merged.is_empty() {
        merged.reverse();
        let own: Vec<String> = entries.iter().map(|(key, _)| key.clone()).collect();
        entries.extend(without_duplicates(merged).into_iter().rev().filter(|(key, _)| !own.contains(key)));
    }
    entries
}

/// Collects the entries that a `<<` merges: those of a map, or of a list of maps.
fn merge(merged: &mut Vec<(String, Value)>, value: Value) -> Result<()> {
    match value {
        Value::Map(entries) => merged.extend(entries),
        Value::List(maps) => {
            for map in maps {
                merge(merged, map)?;
            }
        }
        _ => return fail("`<<` merges what is not a map"),
    }
    Ok(())
}

/// The name of one of YAML's own tags, such as `int`. Other tags are refused.
fn core_tag(tag: Option<&Tag>) -> Result<Option<&str>> {
    let Some(tag) = tag else { return Ok(None) };
    match (tag.handle(), tag.suffix()) {
        (CORE, name) => Ok(Some(name)),
        ("", "!") | ("!", "") => Ok(Some("str")),
        _ => refuse(Some(tag)),
    }
}

fn refuse<T>(tag: Option<&Tag>) -> Result<T> {
    let tag = tag.map(|tag| format!("{}{}", tag.handle(), tag.suffix())).unwrap_or_default();
    fail(format_args!("the tag `{tag}` is not of the safe subset"))
}

fn scalar_value(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value> {
    let value = match core_tag(tag)? {
        None if style == ScalarStyle::Plain => return Ok(scalar::plain(text)),
        None | Some("str") => return Ok(Value::Str(text.to_owned())),
        Some("null") => scalar::null(text),
        Some("bool") => scalar::boolean(text),
        Some("int") => scalar::int(text),
        Some("float") => scalar::float(text).or_else(|| scalar::int(text)?.as_f64().map(Value::Float)),
        Some("timestamp") => scalar::instant(text),
        Some("binary") => base64::decode(text).map(Value::Bytes),
        Some(_) => return refuse(tag),
    };
    match value {
        Some(value) => Ok(value),
        None => fail(format_args!("`{text}` does not fit its tag")),
    }
}
