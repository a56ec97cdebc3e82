//! Fields read leniently, as other producers write them: null is missing, an integer may come as a float, a text as a number.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::error::Result;
use crate::json::reader::JsonReader;
use crate::json::text::Json;
use crate::value::value::Value;

/// A text; anything else but null gives its JSON text, a datetime its ISO text.
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

/// A text of one's own.
pub(crate) fn owned<T: for<'x> From<&'x str>>(reader: &mut JsonReader<'_>) -> Result<Option<T>> {
    Ok(text(reader)?.map(|text| T::from(&text)))
}

/// A text that is most often one of a few.
pub(crate) fn known(reader: &mut JsonReader<'_>, usual: &[&'static str]) -> Result<Option<Cow<'static, str>>> {
    Ok(text(reader)?.map(|text| match usual.iter().find(|known| **known == text) {
        Some(known) => Cow::Borrowed(*known),
        None => Cow::Owned(text.into_owned()),
    }))
}

/// A number, also one in quotes; it is finite.
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

/// An integer; a float loses its fraction, and what is beyond 64 bits is the nearest that fits.
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

/// A count: not below 0, and no more than fits; null is 0.
pub(crate) fn count(reader: &mut JsonReader<'_>) -> Result<u32> {
    Ok(int(reader)?.map_or(0, |value| value.clamp(0, u32::MAX.into()) as u32))
}

/// A small number.
pub(crate) fn octet(reader: &mut JsonReader<'_>) -> Result<Option<u8>> {
    Ok(int(reader)?.map(|value| value.clamp(0, u8::MAX.into()) as u8))
}

/// A truth value; a number is true unless 0.
pub(crate) fn bool(reader: &mut JsonReader<'_>) -> Result<Option<bool>> {
    match reader.peek() {
        b't' => reader.word("true").map(|()| Some(true)),
        b'f' => reader.word("false").map(|()| Some(false)),
        _ => Ok(float(reader)?.map(|value| value != 0.0)),
    }
}

/// A list of what `item` reads; null is none.
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

/// A list of values as they are; null is empty.
pub(crate) fn jsons(reader: &mut JsonReader<'_>) -> Result<Vec<Json>> {
    Ok(list(reader, JsonReader::json)?.unwrap_or_default())
}

/// A map in its order; null and an empty list are empty. Of a key given twice the last value counts.
pub(crate) fn entries(reader: &mut JsonReader<'_>) -> Result<Vec<(String, Json)>> {
    let mut entries: Vec<(String, Json)> = Vec::new();
    if reader.null() {
        return Ok(entries);
    }
    if reader.peek() == b'[' {
        reader.array(|reader| reader.fail("a list stands where a map belongs"))?;
        return Ok(entries);
    }
    let mut places = BTreeMap::new();
    reader.object(|key, reader| {
        let value = reader.json()?;
        let place = if entries.len() < 8 {
            entries.iter().position(|(earlier, _)| *earlier == key)
        } else {
            if places.is_empty() {
                places.extend(entries.iter().enumerate().map(|(i, (key, _))| (key.clone(), i)));
            }
            places.get(&*key).copied()
        };
        match place {
            Some(place) => entries[place].1 = value,
            None => {
                if !places.is_empty() {
                    places.insert(key.clone().into_owned(), entries.len());
                }
                entries.push((key.into_owned(), value));
            }
        }
        Ok(())
    })?;
    Ok(entries)
}

/// A map; null and an empty list are empty.
pub(crate) fn map(reader: &mut JsonReader<'_>) -> Result<BTreeMap<String, Json>> {
    Ok(entries(reader)?.into_iter().collect())
}
