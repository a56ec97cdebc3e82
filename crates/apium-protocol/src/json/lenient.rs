//! Lenient reading of fields, since producers write them in different ways: null counts as missing, an integer may be
//! written as a float, a number as a text, and a text as a number. `None` is a missing value.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::error::Result;
use crate::json::reader::JsonReader;
use crate::json::text::Json;
use crate::value::value::Value;

/// Reads a text. A typed datetime becomes its ISO text, any other value but null its JSON text.
pub(crate) fn text<'a>(reader: &mut JsonReader<'a>) -> Result<Option<Cow<'a, str>>> {
    match reader.peek() {
        b'"' => reader.string().map(Some),
        _ if reader.null() => Ok(None),
        _ => {
            let raw = reader.raw()?;
            Ok(Some(match Value::parse(raw) {
                Ok(Value::DateTime(text)) => Cow::Owned(text),
                _ => Cow::Borrowed(raw),
            }))
        }
    }
}

/// Reads a text into an owned type.
pub(crate) fn owned<T: for<'x> From<&'x str>>(reader: &mut JsonReader<'_>) -> Result<Option<T>> {
    Ok(text(reader)?.map(|text| T::from(&text)))
}

/// Reads a text. One of the `usual` texts is returned without an allocation.
pub(crate) fn shared(reader: &mut JsonReader<'_>, usual: &[&'static str]) -> Result<Option<Cow<'static, str>>> {
    Ok(text(reader)?.map(|text| match usual.iter().find(|usual| **usual == text) {
        Some(usual) => Cow::Borrowed(*usual),
        None => Cow::Owned(text.into_owned()),
    }))
}

/// Reads a finite number, which may be in quotes.
pub(crate) fn float(reader: &mut JsonReader<'_>) -> Result<Option<f64>> {
    let finite = |text: &str| text.parse().ok().filter(|value: &f64| value.is_finite());
    match reader.peek() {
        b'"' => match finite(reader.string()?.trim()) {
            None => reader.fail("a text stands where a number belongs"),
            value => Ok(value),
        },
        b'-' | b'0'..=b'9' => match finite(reader.number()?.0) {
            None => reader.fail("a number is not finite"),
            value => Ok(value),
        },
        _ if reader.null() => Ok(None),
        _ => reader.fail("a number is missing"),
    }
}

/// Reads an integer. A float loses its fraction; a number beyond 64 bits becomes the nearest integer that fits.
pub(crate) fn int(reader: &mut JsonReader<'_>) -> Result<Option<i64>> {
    if matches!(reader.peek(), b'-' | b'0'..=b'9') {
        let (text, _) = reader.number()?;
        return match text.parse().or_else(|_| text.parse().map(|value: f64| value as i64)) {
            Ok(value) => Ok(Some(value)),
            Err(_) => reader.fail("a number cannot be read"),
        };
    }
    Ok(float(reader)?.map(|value| value as i64))
}

/// Reads a count. A number outside of `u32` becomes the nearest one inside; null is 0.
pub(crate) fn count(reader: &mut JsonReader<'_>) -> Result<u32> {
    Ok(int(reader)?.map_or(0, |value| value.clamp(0, u32::MAX.into()) as u32))
}

/// Reads a number from 0 to 255. Another number becomes the nearest of these.
pub(crate) fn octet(reader: &mut JsonReader<'_>) -> Result<Option<u8>> {
    Ok(int(reader)?.map(|value| value.clamp(0, u8::MAX.into()) as u8))
}

/// Reads a boolean. A number is true unless it is 0.
pub(crate) fn bool(reader: &mut JsonReader<'_>) -> Result<Option<bool>> {
    match reader.peek() {
        b't' => reader.word("true").map(|()| Some(true)),
        b'f' => reader.word("false").map(|()| Some(false)),
        _ => Ok(float(reader)?.map(|value| value != 0.0)),
    }
}

/// Reads a list, each element with `item`.
pub(crate) fn list<'a, T>(
    reader: &mut JsonReader<'a>,
    mut item: impl FnMut(&mut JsonReader<'a>) -> Result<T>,
) -> Result<Option<Vec<T>>> {
    if reader.null() {
        return Ok(None);
    }
    let mut items = Vec::new();
    reader.array(|reader| {
        items.push(item(reader)?);
        Ok(())
    })?;
    Ok(Some(items))
}

/// Reads a list of values without decoding them. Null is an empty list.
pub(crate) fn jsons(reader: &mut JsonReader<'_>) -> Result<Vec<Json>> {
    Ok(list(reader, JsonReader::json)?.unwrap_or_default())
}

/// Reads a map in its order. Null and an empty list are an empty map. If a key comes twice, its last value counts.
pub(crate) fn entries(reader: &mut JsonReader<'_>) -> Result<Vec<(String, Json)>> {
    let mut entries: Vec<(String, Json)> = Vec::new();
    if reader.null() {
        return Ok(entries);
    }
    if reader.peek() == b'[' {
        // Only an empty list passes.
        reader.array(|reader| reader.fail("a list stands where a map belongs"))?;
        return Ok(entries);
    }
    // Filled only for maps of 8 and more entries; smaller ones are searched.
    let mut indexes = BTreeMap::new();
    reader.object(|key, reader| {
        let value = reader.json()?;
        let index = if entries.len() < 8 {
            entries.iter().position(|(earlier, _)| *earlier == key)
        } else {
            if indexes.is_empty() {
                indexes.extend(entries.iter().enumerate().map(|(i, (key, _))| (key.clone(), i)));
            }
            indexes.get(&*key).copied()
        };
        match index {
            Some(index) => entries[index].1 = value,
            None => {
                if !indexes.is_empty() {
                    indexes.insert(key.clone().into_owned(), entries.len());
                }
                entries.push((key.into_owned(), value));
            }
        }
        Ok(())
    })?;
    Ok(entries)
}

/// Reads a map into a map that is sorted by key. Null and an empty list are an empty map.
pub(crate) fn map(reader: &mut JsonReader<'_>) -> Result<BTreeMap<String, Json>> {
    Ok(entries(reader)?.into_iter().collect())
}
