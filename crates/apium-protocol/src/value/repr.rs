//! Arguments as Celery's `saferepr` shows them in logs and events: of limited length and depth, without decoding them.

use jiff::civil::DateTime;
use jiff::tz::Offset;

use crate::json::reader::JsonReader;
use crate::json::text::Json;
use crate::timestamp;
use crate::value::value::Value;

/// About how many characters are shown, as in Celery.
const MAX_LENGTH: isize = 1024;

/// How many levels of lists and maps are shown.
const MAX_LEVELS: usize = 3;

/// `argsrepr`: positional arguments as a Python tuple, `(2, 'x')`, cut after 1,024 characters.
pub fn args_repr(args: &[Json]) -> String {
    if args.is_empty() {
        return "()".to_owned();
    }
    let mut repr = Repr::new();
    repr.open('(');
    for (i, arg) in args.iter().enumerate() {
        repr.comma(i);
        repr.json(arg);
        if repr.full {
            break;
        }
    }
    if args.len() == 1 && !repr.full {
        repr.put(",");
    }
    repr.close(')');
    repr.into_text()
}

/// `kwargsrepr`: keyword arguments as a Python dict, `{'deep': True}`, cut after 1,024 characters.
pub fn kwargs_repr(kwargs: &[(String, Json)]) -> String {
    if kwargs.is_empty() {
        return "{}".to_owned();
    }
    let mut repr = Repr::new();
    repr.open('{');
    for (i, (key, value)) in kwargs.iter().enumerate() {
        repr.comma(i);
        repr.quoted(key);
        repr.put(": ");
        repr.json(value);
        if repr.full {
            break;
        }
    }
    repr.close('}');
    repr.into_text()
}

/// A value as Python shows it, cut after 1,024 characters.
pub fn repr_value(value: &Json) -> String {
    let mut repr = Repr::new();
    repr.json(value);
    repr.into_text()
}

/// A text of limited length that is being written.
struct Repr {
    out: String,
    /// How many characters may still be written; negative after a piece that was too long.
    left: isize,
    /// The closing brackets of what is open.
    open: Vec<char>,
    /// Whether the text was cut.
    full: bool,
}

impl Repr {
    fn new() -> Self {
        Self { out: String::with_capacity(96), left: MAX_LENGTH, open: Vec::new(), full: false }
    }

    /// Whether there is room for one more piece. If there is none, writes `...` once and ends the text.
    fn room(&mut self) -> bool {
        if !self.full && self.left <= 0 {
            self.full = true;
            self.out.push_str(if self.out.ends_with(", ") { "..." } else { ", ..." });
        }
        !self.full
    }

    fn put(&mut self, text: &str) {
        if self.room() {
            self.out.push_str(text);
            self.left -= text.len() as isize;
        }
    }

    fn comma(&mut self, index: usize) {
        if index > 0 {
            self.put(", ");
        }
    }

    fn open(&mut self, bracket: char) {
        if self.room() {
            self.out.push(bracket);
            self.left -= 1;
            self.open.push(match bracket {
                '(' => ')',
                '[' => ']',
                _ => '}',
            });
        }
    }

    fn close(&mut self, bracket: char) {
        if self.room() {
            self.open.pop();
            self.out.push(bracket);
            self.left -= 1;
        }
    }

    /// Writes a text in single quotes, cut to the room that is left. Only single quotes are escaped, as in Celery.
    fn quoted(&mut self, text: &str) {
        if !self.room() {
            return;
        }
        let cut = cut(text, self.left);
        self.out.push('\'');
        let mut rest = cut;
        while let Some(at) = rest.find('\'') {
            self.out.push_str(&rest[..at]);
            self.out.push_str("\\'");
            rest = &rest[at + 1..];
        }
        self.out.push_str(rest);
        if cut.len() < text.len() {
            self.out.push_str("...");
            self.left = 0;
        }
        self.out.push('\'');
        self.left -= cut.len() as isize + 2;
    }

    fn json(&mut self, json: &Json) {
        let mut reader = JsonReader::new(json.as_str());
        // The text is JSON. Half a surrogate pair ends it early, which does no harm in a log.
        let _ = self.value(&mut reader);
    }

    fn value(&mut self, reader: &mut JsonReader<'_>) -> crate::error::Result<()> {
        if self.full {
            return reader.skip();
        }
        match reader.peek() {
            b'"' => self.quoted(&reader.string()?),
            b'[' if self.open.len() >= MAX_LEVELS => self.hidden(reader, "[...]", "[]")?,
            b'{' if self.open.len() >= MAX_LEVELS => self.hidden(reader, "{...}", "{}")?,
            b'[' => {
                self.open('[');
                let mut index = 0;
                reader.array(|reader| {
                    self.comma(index);
                    index += 1;
                    self.value(reader)
                })?;
                self.close(']');
            }
            b'{' => self.map(reader)?,
            _ => self.word(reader.raw()?),
        }
        Ok(())
    }

    /// Writes a list or map beyond the last level: as an ellipsis, unless it is empty or a short typed value.
    fn hidden(&mut self, reader: &mut JsonReader<'_>, hidden: &str, empty: &str) -> crate::error::Result<()> {
        let raw = reader.raw()?;
        if raw.len() < 64 && may_be_typed(raw) && self.typed(raw) {
            return Ok(());
        }
        self.put(if raw[1..raw.len() - 1].trim().is_empty() { empty } else { hidden });
        Ok(())
    }

    fn map(&mut self, reader: &mut JsonReader<'_>) -> crate::error::Result<()> {
        let raw = reader.raw()?;
        if may_be_typed(raw) && self.typed(raw) {
            return Ok(());
        }
        self.open('{');
        let mut index = 0;
        JsonReader::new(raw).object(|key, reader| {
            self.comma(index);
            index += 1;
            self.quoted(&key);
            self.put(": ");
            self.value(reader)
        })?;
        self.close('}');
        Ok(())
    }

    /// Writes a number, or Python's word for null, a boolean, NaN or infinity.
    fn word(&mut self, raw: &str) {
        let text = match raw {
            "null" => "None",
            "true" => "True",
            "false" => "False",
            "NaN" => "nan",
            "Infinity" => "inf",
            "-Infinity" => "-inf",
            number if self.left > 0 && number.len() > self.left as usize => {
                let short = format!("{}...", cut(number, self.left));
                return self.put(&short);
            }
            number => number,
        };
        self.put(text);
    }

    /// Writes a typed value, such as `UUID('…')`. Returns false if the map is none.
    fn typed(&mut self, raw: &str) -> bool {
        let text = match Value::parse(raw) {
            Ok(Value::DateTime(text)) => timestamp::split(&text).map(|(local, offset)| python_datetime(local, offset)),
            Ok(Value::Date(text)) => timestamp::split(&text)
                .map(|(local, _)| format!("datetime.date({}, {}, {})", local.year(), local.month(), local.day())),
            Ok(Value::Time(text)) => {
                timestamp::read_time(&text).map(|time| format!("datetime.time({})", python_time(time)))
            }
            Ok(Value::Decimal(text)) => Some(format!("Decimal('{text}')")),
            Ok(Value::Uuid(uuid)) => Some(format!("UUID('{uuid}')")),
            Ok(Value::Bytes(bytes)) => Some(match std::str::from_utf8(&bytes) {
                Ok(text) => format!("b'{}'", text.replace('\'', "\\'")),
                Err(_) => format!("b'{}'", bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()),
            }),
            _ => None,
        };
        match text {
            Some(text) => {
                let short = cut(&text, self.left);
                if short.len() < text.len() {
                    let short = format!("{short}...");
                    self.put(&short);
                } else {
                    self.put(&text);
                }
                true
            }
            None => false,
        }
    }

    fn into_text(mut self) -> String {
        while let Some(bracket) = self.open.pop() {
            self.out.push(bracket);
        }
        self.out
    }
}

/// Whether a map may be a typed envelope.
fn may_be_typed(raw: &str) -> bool {
    raw.contains("\"__type__\"")
}

/// The first `length` characters of a text; all of it if it is shorter.
fn cut(text: &str, length: isize) -> &str {
    let length = length.max(0) as usize;
    if text.len() <= length {
        return text;
    }
    match text.char_indices().nth(length) {
        Some((at, _)) => &text[..at],
        None => text,
    }
}

fn python_time(time: jiff::civil::Time) -> String {
    let mut out = format!("{}, {}", time.hour(), time.minute());
    let micros = time.subsec_nanosecond() / 1000;
    if time.second() != 0 || micros != 0 {
        out += &format!(", {}", time.second());
    }
    if micros != 0 {
        out += &format!(", {micros}");
    }
    out
}

fn python_datetime(local: DateTime, offset: Option<Offset>) -> String {
    let zone = match offset {
        None => String::new(),
        Some(offset) if offset == Offset::UTC => ", tzinfo=datetime.timezone.utc".into(),
        Some(offset) => {
            // Python shows a timedelta as days and seconds of a day.
            let (days, seconds) = (offset.seconds().div_euclid(86_400), offset.seconds().rem_euclid(86_400));
            let days = if days == 0 { String::new() } else { format!("days={days}, ") };
            format!(", tzinfo=datetime.timezone(datetime.timedelta({days}seconds={seconds}))")
        }
    };
    let time = python_time(local.time());
    format!("datetime.datetime({}, {}, {}, {time}{zone})", local.year(), local.month(), local.day())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(texts: &[&str]) -> String {
        args_repr(&texts.iter().map(|text| Json::from_text(text).unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn tuples() {
        assert_eq!(args(&[]), "()");
        assert_eq!(args(&["2"]), "(2,)");
        assert_eq!(args(&["2", "3"]), "(2, 3)");
        assert_eq!(args(&["null", "true", "1.50", "NaN", "-Infinity"]), "(None, True, 1.50, nan, -inf)");
        assert_eq!(args(&[r#""it's\n\u00e9""#]), "('it\\'s\né',)");
        assert_eq!(
            args(&["[[[1]]]", "{\"a\": {\"b\": [1, {}]}}", "[[[]]]"]),
            "([[[...]]], {'a': {'b': [...]}}, [[[]]])"
        );
    }

    #[test]
    fn dicts() {
        assert_eq!(kwargs_repr(&[]), "{}");
        let kwargs = [("k".to_owned(), Json::from_text("\"v\"").unwrap()), ("n".to_owned(), Json::NULL)];
        assert_eq!(kwargs_repr(&kwargs), "{'k': 'v', 'n': None}");
    }

    #[test]
    fn typed_values() {
        assert_eq!(
            args(&[
                r#"{"__type__": "datetime", "__value__": "2020-01-02T03:04:05+02:00"}"#,
                r#"{"__type__": "time", "__value__": "01:02:00"}"#,
                r#"{"__type__": "base64", "__value__": "//4A"}"#,
                r#"{"__type__": "uuid", "__value__": {"hex": "12345678123456781234567812345678"}}"#,
            ]),
            "(datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=datetime.timezone(datetime.timedelta(seconds=7200))), \
             datetime.time(1, 2), b'fffe00', UUID('12345678-1234-5678-1234-567812345678'))"
        );
    }

    #[test]
    fn long_values_are_cut() {
        let long = format!("\"{}\"", "x".repeat(3000));
        assert_eq!(args(&[&long, "1"]), format!("('{}...', ...)", "x".repeat(1023)));
        let list = format!("[{}]", vec!["7"; 3000].join(", "));
        let cut = args(&[&list]);
        assert!(cut.ends_with("7, ...])"), "{cut}");
        assert!(cut.len() < 1040);
    }
}
