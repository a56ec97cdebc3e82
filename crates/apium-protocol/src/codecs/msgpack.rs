//! msgpack as kombu writes it: text as str, bytes as bin, without extension types.

use serde::Serialize;
use serde::ser::{Error as _, SerializeMap, SerializeSeq};

use crate::codecs::serializer::Serializer;
use crate::error::{Error, ErrorKind, Result};
use crate::value::parse::{MAX_DEPTH, from_entries, key_text};
use crate::value::value::Value;

/// The serializer `msgpack`. Times, decimals and UUIDs are written as text, since msgpack has no types for them.
pub(crate) struct Msgpack;

impl Serializer for Msgpack {
    fn name(&self) -> &str {
        "msgpack"
    }

    fn content_type(&self) -> &str {
        "application/x-msgpack"
    }

    fn encode(&self, value: &Value) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(128);
        Native(value).serialize(&mut rmp_serde::Serializer::new(&mut out)).map_err(Error::encode)?;
        Ok(out)
    }

    fn decode(&self, bytes: &[u8]) -> Result<Value> {
        let mut reader = Reader { rest: bytes };
        let value = reader.value()?;
        match reader.rest.len() {
            0 => Ok(value),
            more => fail(format!("{more} bytes follow the value")),
        }
    }
}

fn fail<T>(what: impl std::fmt::Display) -> Result<T> {
    Err(Error::new(ErrorKind::Decode, format!("read msgpack: {what}")))
}

/// Serializes a value with msgpack's own types.
struct Native<'a>(&'a Value);

impl Serialize for Native<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => serializer.serialize_i64(*value),
            Value::BigInt(digits) => match digits.parse() {
                Ok(value) => serializer.serialize_u64(value),
                Err(_) => Err(S::Error::custom(format_args!(
                    "the integer {digits} does not fit 64 bits, the most that msgpack has"
                ))),
            },
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Str(text) | Value::DateTime(text) | Value::Date(text) | Value::Time(text) | Value::Decimal(text) => {
                serializer.serialize_str(text)
            }
            Value::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Value::List(list) => {
                let mut seq = serializer.serialize_seq(Some(list.len()))?;
                for value in list {
                    seq.serialize_element(&Native(value))?;
                }
                seq.end()
            }
            Value::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, &Native(value))?;
                }
                map.end()
            }
            Value::Uuid(uuid) => serializer.serialize_str(&uuid.to_string()),
        }
    }
}

/// What begins at a place of the bytes.
enum Item {
    Value(Value),
    /// A list of so many elements.
    List(usize),
    /// A map of so many entries.
    Map(usize),
}

/// A list or map that is being read. Its announced size may be a lie, so no memory is taken for it beforehand.
enum Open {
    List(Vec<Value>, usize),
    /// The entries, the key of the next value, and how many entries are to come.
    Map(Vec<(String, Value)>, Option<String>, usize),
}

impl Open {
    /// Adds a value that was read: an element, a key, or the value of the key before.
    fn add(&mut self, value: Value) -> Result<()> {
        match self {
            Self::List(list, left) => {
                list.push(value);
                *left -= 1;
            }
            Self::Map(entries, key, left) => match key.take() {
                Some(key) => {
                    entries.push((key, value));
                    *left -= 1;
                }
                None => {
                    let kind = value.kind();
                    match key_text(value) {
                        Some(text) => *key = Some(text),
                        None => return fail(format_args!("{kind} cannot be a map's key")),
                    }
                }
            },
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        let (Self::List(_, left) | Self::Map(_, _, left)) = self;
        *left == 0
    }

    fn into_value(self) -> Value {
        match self {
            Self::List(list, _) => Value::List(list),
            Self::Map(entries, ..) => from_entries(entries),
        }
    }
}

/// Reads without recursion, since a value may nest deeper than the stack of a thread allows.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Result<Value> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            let item = self.item()?;
            if matches!(item, Item::List(_) | Item::Map(_)) && open.len() == MAX_DEPTH {
                return fail("the value nests too deep to be decoded");
            }
            let mut value = match item {
                Item::Value(value) => value,
                Item::List(0) => Value::List(Vec::new()),
                Item::Map(0) => Value::Map(Vec::new()),
                Item::List(length) => {
                    open.push(Open::List(Vec::new(), length));
                    continue;
                }
                Item::Map(length) => {
                    open.push(Open::Map(Vec::new(), None, length));
                    continue;
                }
            };
            // The value may be the last one of its list, which then may be the last one of its own, and so on.
            loop {
                let Some(innermost) = open.last_mut() else { return Ok(value) };
                innermost.add(value)?;
                if !innermost.is_complete() {
                    break;
                }
                value = open.pop().map_or(Value::Null, Open::into_value);
            }
        }
    }

    fn item(&mut self) -> Result<Item> {
        let [marker] = self.array()?;
        Ok(Item::Value(match marker {
            0x00..=0x7f => Value::Int(marker.into()),
            0x80..=0x8f => return Ok(Item::Map((marker & 0xf).into())),
            0x90..=0x9f => return Ok(Item::List((marker & 0xf).into())),
            0xa0..=0xbf => self.text((marker & 0x1f).into())?,
            0xc0 => Value::Null,
            0xc2 => Value::Bool(false),
            0xc3 => Value::Bool(true),
            0xc4..=0xc6 => {
                let length = self.length(marker - 0xc4)?;
                Value::Bytes(self.take(length)?.to_vec())
            }
            0xca => Value::Float(f32::from_be_bytes(self.array()?).into()),
            0xcb => Value::Float(f64::from_be_bytes(self.array()?)),
            0xcc => Value::from(u8::from_be_bytes(self.array()?)),
            0xcd => Value::from(u16::from_be_bytes(self.array()?)),
            0xce => Value::from(u32::from_be_bytes(self.array()?)),
            0xcf => Value::from(u64::from_be_bytes(self.array()?)),
            0xd0 => Value::from(i8::from_be_bytes(self.array()?)),
            0xd1 => Value::from(i16::from_be_bytes(self.array()?)),
            0xd2 => Value::from(i32::from_be_bytes(self.array()?)),
            0xd3 => Value::from(i64::from_be_bytes(self.array()?)),
            0xd9..=0xdb => {
                let length = self.length(marker - 0xd9)?;
                self.text(length)?
            }
            0xdc | 0xdd => return Ok(Item::List(self.length(marker - 0xdc + 1)?)),
            0xde | 0xdf => return Ok(Item::Map(self.length(marker - 0xde + 1)?)),
            0xe0..=0xff => Value::Int(i8::from_be_bytes([marker]).into()),
            0xc1 => return fail("the byte c1 begins no value"),
            0xc7..=0xc9 | 0xd4..=0xd8 => return fail("a value of an extension type, which kombu does not write"),
        }))
    }

    /// A length of one, two or four bytes: `size` is 0, 1 or 2.
    fn length(&mut self, size: u8) -> Result<usize> {
        Ok(match size {
            0 => u8::from_be_bytes(self.array()?).into(),
            1 => u16::from_be_bytes(self.array()?).into(),
            _ => u32::from_be_bytes(self.array()?) as usize,
        })
    }

    /// A text. One that is not UTF-8 is bytes: old programs write bytes so.
    fn text(&mut self, length: usize) -> Result<Value> {
        let bytes = self.take(length)?;
        Ok(match std::str::from_utf8(bytes) {
            Ok(text) => Value::Str(text.to_owned()),
            Err(_) => Value::Bytes(bytes.to_vec()),
        })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let Some((taken, rest)) = self.rest.split_first_chunk() else { return fail("it ends too early") };
        self.rest = rest;
        Ok(*taken)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else { return fail("it ends too early") };
        self.rest = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_msgpack_is_read() {
        let cases: &[(&[u8], &str)] = &[
            (b"\x07", "7"),
            (b"\xff", "-1"),
            (b"\xe0", "-32"),
            (b"\xc0", "null"),
            (b"\xc2", "false"),
            (b"\xc3", "true"),
            (b"\xca\x3f\x80\x00\x00", "1.0"),
            (b"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", "1.5"),
            (b"\xcc\xff", "255"),
            (b"\xcd\x01\x00", "256"),
            (b"\xce\xff\xff\xff\xff", "4294967295"),
            (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
            (b"\xd0\x80", "-128"),
            (b"\xd1\x80\x00", "-32768"),
            (b"\xd2\x80\x00\x00\x00", "-2147483648"),
            (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "-9223372036854775808"),
            (b"\xa2hi", "\"hi\""),
            (b"\xd9\x02hi", "\"hi\""),
            (b"\xda\x00\x02hi", "\"hi\""),
            (b"\xdb\x00\x00\x00\x02hi", "\"hi\""),
            (b"\xc4\x01\xff", r#"{"__type__": "base64", "__value__": "/w=="}"#),
            (b"\xc5\x00\x01a", r#"{"__type__": "bytes", "__value__": "a"}"#),
            (b"\xc6\x00\x00\x00\x01a", r#"{"__type__": "bytes", "__value__": "a"}"#),
            (b"\x92\x01\x90", "[1, []]"),
            (b"\xdc\x00\x01\x01", "[1]"),
            (b"\xdd\x00\x00\x00\x01\x01", "[1]"),
            (b"\x82\xa1a\x80\x01\x02", r#"{"a": {}, "1": 2}"#),
            (b"\xde\x00\x01\xc0\xc0", r#"{"null": null}"#),
            (b"\xdf\x00\x00\x00\x01\xa1a\x01", r#"{"a": 1}"#),
            (b"\x82\xa8__type__\xa3foo\xa9__value__\x01", r#"{"__type__": "foo", "__value__": 1}"#),
        ];
        for (bytes, text) in cases {
            assert_eq!(Msgpack.decode(bytes).unwrap().to_string(), *text, "{bytes:x?}");
        }
    }

    #[test]
    fn broken_bytes_are_refused() {
        for bytes in [
            &b""[..],
            b"\xc1",
            b"\xcd\x01",
            b"\xa3hi",
            b"\xdd\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff",
            b"\x81\x90\x01",
            b"\x81\xa1a",
            b"\xd4\x01\x00",
            b"\xc7\x00\x01",
            b"\x01\x01",
        ] {
            assert_eq!(Msgpack.decode(bytes).unwrap_err().kind(), ErrorKind::Decode, "{bytes:x?}");
        }
        assert!(Msgpack.decode(&[0x91; 1 << 20]).is_err());
    }

    #[test]
    fn values_as_deep_as_those_of_json_round_trip() {
        let text = "[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH);
        let value = Value::parse(&text).unwrap();
        assert_eq!(Msgpack.decode(&Msgpack.encode(&value).unwrap()).unwrap().to_string(), text);
    }
}
