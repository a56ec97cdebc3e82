//! Tables of AMQP, and the JSON that they mean. The types are those that py-amqp writes, so that Celery reads them.

use std::collections::BTreeMap;

use apium_protocol::json::text::Json;
use apium_protocol::value::value::Value;
use apium_transport::error::{Error, ErrorKind, Result};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use serde::{Serialize, Serializer};

/// A short text of the protocol: 255 bytes at most. `what` it is stands in the error.
pub(crate) fn short(what: &str, text: &str) -> Result<ShortString> {
    ShortString::try_new(text).map_err(|_| {
        let shown: String = text.chars().take(40).collect();
        let len = text.len();
        let why = format!("send the {what} {shown:?}…: it has {len} bytes, and AMQP carries 255 at most");
        Error::new(ErrorKind::TooLarge, why)
    })
}

/// A table of these entries.
pub(crate) fn table(entries: impl IntoIterator<Item = (&'static str, AMQPValue)>) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(name.into(), value);
    }
    table
}

/// An integer, in the smallest type that py-amqp would take.
pub(crate) fn int(value: i64) -> AMQPValue {
    i32::try_from(value).map_or(AMQPValue::LongLongInt(value), AMQPValue::LongInt)
}

/// The table that a JSON map means.
pub(crate) fn from_json_map(json: &Json) -> Result<FieldTable> {
    match json.to_value() {
        Ok(Value::Map(entries)) => from_entries(entries),
        _ => Err(Error::new(ErrorKind::Other, "write a table: it is no map")),
    }
}

fn from_entries(entries: Vec<(String, Value)>) -> Result<FieldTable> {
    let mut table = BTreeMap::new();
    for (name, value) in entries {
        let value = from_value(value).map_err(|why| {
            let shown: String = name.chars().take(60).collect();
            Error::new(ErrorKind::TooLarge, format!("send the header {shown:?}: {why}"))
        })?;
        table.insert(short("name of a header", &name)?, value);
    }
    Ok(table.into())
}

fn from_value(value: Value) -> std::result::Result<AMQPValue, String> {
    Ok(match value {
        Value::Null => AMQPValue::Void,
        Value::Bool(value) => AMQPValue::Boolean(value),
        Value::Int(value) => int(value),
        Value::BigInt(digits) => return Err(format!("AMQP carries no integer as large as {digits}")),
        Value::Float(value) => AMQPValue::Double(value),
        Value::Bytes(bytes) => AMQPValue::ByteArray(bytes.into()),
        Value::List(list) => {
            let values: std::result::Result<Vec<_>, _> = list.into_iter().map(from_value).collect();
            AMQPValue::FieldArray(values?.into())
        }
        Value::Map(entries) => AMQPValue::FieldTable(from_entries(entries).map_err(|error| error.to_string())?),
        Value::Uuid(id) => AMQPValue::LongString(id.to_string().into()),
        other => AMQPValue::LongString(other.as_str().unwrap_or_default().into()),
    })
}

/// What a table means as JSON, without some of its entries. It is written in one pass, since every message that comes
/// needs it.
pub(crate) fn to_json(table: &FieldTable, skipped: impl Fn(&str) -> bool) -> Result<Json> {
    let json = Json::from_serialize(&Entries { table, skipped });
    json.map_err(|error| Error::new(ErrorKind::Other, "read a table").with_source(error))
}

struct Entries<'a, F> {
    table: &'a FieldTable,
    skipped: F,
}

impl<F: Fn(&str) -> bool> Serialize for Entries<'_, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let entries = self.table.into_iter().filter(|(name, _)| !(self.skipped)(name.as_str()));
        serializer.collect_map(entries.map(|(name, value)| (name.as_str(), Field(value))))
    }
}

struct Field<'a>(&'a AMQPValue);

impl Serialize for Field<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        match self.0 {
            AMQPValue::Boolean(value) => to.serialize_bool(*value),
            AMQPValue::Float(value) => to.serialize_f64((*value).into()),
            AMQPValue::Double(value) => to.serialize_f64(*value),
            AMQPValue::DecimalValue(value) => to.serialize_f64(f64::from(value.value) / 10f64.powi(value.scale.into())),
            AMQPValue::ShortString(text) => to.serialize_str(text.as_str()),
            AMQPValue::LongString(text) => match std::str::from_utf8(text.as_bytes()) {
                Ok(text) => to.serialize_str(text),
                Err(_) => to.serialize_bytes(text.as_bytes()),
            },
            AMQPValue::FieldArray(values) => to.collect_seq(values.as_slice().iter().map(Field)),
            AMQPValue::FieldTable(table) => Entries { table, skipped: |_: &str| false }.serialize(to),
            AMQPValue::ByteArray(bytes) => to.serialize_bytes(bytes.as_slice()),
            AMQPValue::Void => to.serialize_unit(),
            number => to.serialize_i64(int_of(number).unwrap_or_default()),
        }
    }
}

/// A value as an integer, if it is one. A time is its seconds.
fn int_of(value: &AMQPValue) -> Option<i64> {
    Some(match value {
        AMQPValue::ShortShortInt(value) => (*value).into(),
        AMQPValue::ShortShortUInt(value) => (*value).into(),
        AMQPValue::ShortInt(value) => (*value).into(),
        AMQPValue::ShortUInt(value) => (*value).into(),
        AMQPValue::LongInt(value) => (*value).into(),
        AMQPValue::LongUInt(value) => (*value).into(),
        AMQPValue::LongLongInt(value) => *value,
        AMQPValue::Timestamp(seconds) => i64::try_from(*seconds).unwrap_or(i64::MAX),
        _ => return None,
    })
}

/// A text in a table.
pub(crate) fn text_in(table: &FieldTable, name: &str) -> Option<String> {
    match table.inner().get(name)? {
        AMQPValue::ShortString(text) => Some(text.to_string()),
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok().map(str::to_owned),
        _ => None,
    }
}

/// A number in a table.
pub(crate) fn int_in(table: &FieldTable, name: &str) -> Option<i64> {
    int_of(table.inner().get(name)?)
}

/// About how many bytes a table has on the wire.
pub(crate) fn size_of(table: &FieldTable) -> usize {
    4 + table.into_iter().map(|(name, value)| 2 + name.as_str().len() + size_of_value(value)).sum::<usize>()
}

fn size_of_value(value: &AMQPValue) -> usize {
    match value {
        AMQPValue::LongString(text) => 4 + text.len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.len(),
        AMQPValue::ShortString(text) => 1 + text.as_str().len(),
        AMQPValue::FieldTable(table) => size_of(table),
        AMQPValue::FieldArray(values) => 4 + values.as_slice().iter().map(|one| 1 + size_of_value(one)).sum::<usize>(),
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::DecimalValue;

    use super::*;

    #[test]
    fn a_table_of_every_type_is_json() {
        let inner = table([("n", AMQPValue::ShortShortInt(-1)), ("skip", AMQPValue::Void)]);
        let all = table([
            ("array", AMQPValue::FieldArray(vec![AMQPValue::Boolean(true), AMQPValue::LongUInt(7)].into())),
            ("bytes", AMQPValue::ByteArray(vec![0xff, 1].into())),
            ("decimal", AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 150 })),
            ("float", AMQPValue::Float(0.5)),
            ("skip", AMQPValue::Boolean(false)),
            ("table", AMQPValue::FieldTable(inner)),
            ("text", AMQPValue::LongString("q\"é".into())),
            ("time", AMQPValue::Timestamp(9)),
            ("void", AMQPValue::Void),
        ]);
        let json = to_json(&all, |name| name == "skip").unwrap();
        let wanted = r#"{"array": [true, 7], "bytes": {"__type__": "base64", "__value__": "/wE="}, "decimal": 1.5, "float": 0.5, "table": {"n": -1, "skip": null}, "text": "q\"\u00e9", "time": 9, "void": null}"#;
        assert_eq!(json.as_str(), wanted);
        assert_eq!((int_in(&all, "time"), text_in(&all, "text").as_deref()), (Some(9), Some("q\"é")));
        assert_eq!((int_in(&all, "text"), text_in(&all, "time")), (None, None));
    }

    #[test]
    fn a_text_that_is_not_utf8_is_bytes() {
        let table = table([("name", AMQPValue::LongString(vec![0xff].into()))]);
        let json = to_json(&table, |_| false).unwrap();
        assert_eq!(json.as_str(), r#"{"name": {"__type__": "base64", "__value__": "/w=="}}"#);
    }
}
