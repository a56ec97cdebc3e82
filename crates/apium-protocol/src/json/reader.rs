//! A reader of JSON text that returns slices and builds no tree. It checks the grammar, which includes Python's `NaN`,
//! `Infinity` and `-Infinity`.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};

/// What half a surrogate pair becomes in a text.
///
/// Python's texts may contain halves: the name of a file whose bytes are not UTF-8 has one for each such byte
/// (`'\udce9.txt'`), and `json.dumps` writes it as `\udce9`. A text of Rust cannot contain it. Where JSON is passed on
/// without being decoded it stays.
const FOR_HALF_A_PAIR: char = char::REPLACEMENT_CHARACTER;

/// Reads a JSON text from its beginning to its end.
pub(crate) struct JsonReader<'a> {
    text: &'a str,
    /// The position of the next byte.
    at: usize,
    /// The shared memory that `text` lies in, if there is one.
    owner: Option<&'a Bytes>,
}

impl<'a> JsonReader<'a> {
    /// Reads a text. `raw_bytes` copies.
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, owner: None }
    }

    /// Reads shared bytes. `raw_bytes` returns slices of the same memory.
    pub(crate) fn of(owner: &'a Bytes) -> Result<Self> {
        Ok(Self { owner: Some(owner), ..Self::new(utf8(owner)?) })
    }

    /// Another reader of the same text, from this position on.
    pub(crate) fn at(&self, position: usize) -> Self {
        Self { text: self.text, at: position, owner: self.owner }
    }

    /// A part of the text: a slice of the shared memory, or a copy.
    pub(crate) fn slice(&self, range: Range<usize>) -> Bytes {
        let part = self.text[range].as_bytes();
        self.owner.map_or_else(|| Bytes::copy_from_slice(part), |owner| owner.slice_ref(part))
    }

    /// Consumes a comma if it is next.
    pub(crate) fn comma(&mut self) {
        self.at += usize::from(self.peek() == b',');
    }

    /// How many bytes were consumed.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// An error at this position.
    #[cold]
    pub(crate) fn fail<T>(&self, what: &str) -> Result<T> {
        Err(Error::new(ErrorKind::Decode, format!("read JSON at byte {}: {what}", self.at)))
    }

    /// An error at this position, where something else stands. Away from the callers, which stay small.
    #[cold]
    fn missing<T>(&self, what: &[u8]) -> Result<T> {
        let what: Vec<String> = what.iter().map(|&byte| format!("`{}`", char::from(byte))).collect();
        self.fail(&format!("{} is missing", what.join(" or ")))
    }

    /// Skips blanks and returns the next byte without consuming it. At the end it is 0, which begins no value.
    #[inline]
    pub(crate) fn peek(&mut self) -> u8 {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(&byte) => return byte,
                None => return 0,
            }
        }
    }

    /// Checks that only blanks follow.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.peek();
        if self.at == self.text.len() { Ok(()) } else { self.fail("something follows the value") }
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.peek() == byte {
            self.at += 1;
            return Ok(());
        }
        self.missing(&[byte])
    }

    /// Consumes a `null` if it is next.
    pub(crate) fn null(&mut self) -> bool {
        let found = self.peek() == b'n' && self.text.as_bytes()[self.at..].starts_with(b"null");
        if found {
            self.at += 4;
        }
        found
    }

    /// Consumes the next value and returns its text.
    pub(crate) fn raw(&mut self) -> Result<&'a str> {
        self.peek();
        let start = self.at;
        self.skip()?;
        Ok(&self.text[start..self.at])
    }

    /// Consumes the next value and returns its bytes: a slice of the shared memory, or a copy.
    pub(crate) fn raw_bytes(&mut self) -> Result<Bytes> {
        self.peek();
        let start = self.at;
        self.skip()?;
        Ok(self.slice(start..self.at))
    }

    /// Reads a list. `each` must consume one value.
    pub(crate) fn array(&mut self, mut each: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        let mut has_more = self.open(b'[')?;
        while has_more {
            each(self)?;
            has_more = self.has_more(b']')?;
        }
        Ok(())
    }

    /// Reads a map. `each` gets the key and must consume one value.
    pub(crate) fn object(&mut self, mut each: impl FnMut(Cow<'a, str>, &mut Self) -> Result<()>) -> Result<()> {
        let mut has_more = self.open(b'{')?;
        while has_more {
            let key = self.key()?;
            each(key, self)?;
            has_more = self.has_more(b'}')?;
        }
        Ok(())
    }

    /// Consumes the bracket that opens a list or map, and the one that closes it if it is empty. Returns whether
    /// something is inside.
    #[inline]
    pub(crate) fn open(&mut self, bracket: u8) -> Result<bool> {
        self.expect(bracket)?;
        // In ASCII a closing bracket or brace comes two places after the opening one.
        let is_empty = self.peek() == bracket + 2;
        self.at += usize::from(is_empty);
        Ok(!is_empty)
    }

    /// Consumes what comes after an element: a comma, or the bracket that closes the list or map. Returns whether there
    /// is another element.
    #[inline]
    pub(crate) fn has_more(&mut self, close: u8) -> Result<bool> {
        let next = self.peek();
        if next != b',' && next != close {
            return self.missing(&[b',', close]);
        }
        self.at += 1;
        Ok(next == b',')
    }

    /// Consumes the key of a map and the colon after it.
    #[inline]
    pub(crate) fn key(&mut self) -> Result<Cow<'a, str>> {
        let key = self.string()?;
        self.expect(b':')?;
        Ok(key)
    }

    /// Reads a string. Half a surrogate pair becomes U+FFFD.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>> {
        if self.peek() != b'"' {
            return self.fail("a string is missing");
        }
        let start = self.at + 1;
        let escaped = self.skip_string()?;
        let inside = &self.text[start..self.at - 1];
        Ok(if escaped { Cow::Owned(unescape(inside)) } else { Cow::Borrowed(inside) })
    }

    /// Consumes one value and checks its grammar.
    pub(crate) fn skip(&mut self) -> Result<()> {
        match self.peek() {
            b'[' | b'{' => self.skip_nested(),
            _ => self.skip_scalar(),
        }
    }

    /// Consumes a list or map without recursion, since a message may nest to any depth.
    fn skip_nested(&mut self) -> Result<()> {
        let mut levels = Levels::default();
        'value: loop {
            match self.peek() {
                open @ (b'[' | b'{') => {
                    self.at += 1;
                    let is_map = open == b'{';
                    levels.open(is_map);
                    // In ASCII a closing bracket or brace comes two places after the opening one.
                    let is_empty = self.peek() == open + 2;
                    if !is_empty {
                        if is_map {
                            self.skip_key()?;
                        }
                        continue 'value;
                    }
                }
                _ => self.skip_scalar()?,
            }
            loop {
                let Some(is_map) = levels.innermost_is_map() else { return Ok(()) };
                match self.peek() {
                    b',' => {
                        self.at += 1;
                        if is_map {
                            self.skip_key()?;
                        }
                        continue 'value;
                    }
                    b'}' if is_map => levels.close(),
                    b']' if !is_map => levels.close(),
                    _ => return self.fail("the list or map is not closed"),
                }
                self.at += 1;
            }
        }
    }

    fn skip_key(&mut self) -> Result<()> {
        if self.peek() != b'"' {
            return self.fail("a key is missing");
        }
        self.skip_string()?;
        self.expect(b':')
    }

    fn skip_scalar(&mut self) -> Result<()> {
        match self.peek() {
            b'"' => self.skip_string().map(|_| ()),
            b'-' | b'0'..=b'9' => self.number().map(|_| ()),
            b'n' => self.word("null"),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'N' => self.word("NaN"),
            b'I' => self.word("Infinity"),
            _ => self.fail("a value is missing"),
        }
    }

    /// Consumes exactly this word.
    pub(crate) fn word(&mut self, word: &str) -> Result<()> {
        if !self.text[self.at..].starts_with(word) {
            return self.fail("a value is missing");
        }
        self.at += word.len();
        Ok(())
    }

    /// Consumes a number; returns its text, and whether it is an integer.
    pub(crate) fn number(&mut self) -> Result<(&'a str, bool)> {
        self.peek();
        let bytes = self.text.as_bytes();
        let start = self.at;
        if bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
            if bytes.get(self.at) == Some(&b'I') {
                self.word("Infinity")?;
                return Ok((&self.text[start..self.at], false));
            }
        }
        let whole = self.at;
        self.digits()?;
        if bytes[whole] == b'0' && self.at > whole + 1 {
            return self.fail("a number begins with 0");
        }
        let mut integer = true;
        if bytes.get(self.at) == Some(&b'.') {
            integer = false;
            self.at += 1;
            self.digits()?;
        }
        if matches!(bytes.get(self.at), Some(b'e' | b'E')) {
            integer = false;
            self.at += 1;
            if matches!(bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok((&self.text[start..self.at], integer))
    }

    fn digits(&mut self) -> Result<()> {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len());
        if count == 0 {
            return self.fail("a digit is missing");
        }
        self.at += count;
        Ok(())
    }

    /// Consumes a string, from its opening quote; returns whether it has escapes.
    fn skip_string(&mut self) -> Result<bool> {
        let bytes = self.text.as_bytes();
        let mut escaped = false;
        self.at += 1;
        loop {
            let rest = &bytes[self.at..];
            let Some(found) = first_special(rest) else { return self.fail("a string is not closed") };
            match rest[found] {
                b'"' => {
                    self.at += found + 1;
                    return Ok(escaped);
                }
                b'\\' => self.at += found + 1,
                _ => return self.fail("a string holds a control character"),
            }
            escaped = true;
            match bytes.get(self.at) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
                Some(b'u') if hex4(&bytes[self.at + 1..]).is_some() => self.at += 5,
                _ => return self.fail("an escape is broken"),
            }
        }
    }
}

/// How far from its beginning the end of a string is searched without a call: most strings of a message are keys, words
/// and ids.
const NEAR: usize = 40;

/// The index of the first quote, backslash or control character.
#[inline]
fn first_special(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // The lowest byte for which these say yes is one; those above it may be wrong.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let control = |word: u64| word.wrapping_sub(ONES * 0x20) & !word & HIGH;
    let (words, end) = bytes[..bytes.len().min(NEAR)].as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\'))) | control(word);
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    match bytes.len() > NEAR {
        true => far_special(&bytes[NEAR..]).map(|found| NEAR + found),
        false => end.iter().position(is_special).map(|found| words.len() * 8 + found),
    }
}

fn is_special(byte: &u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..0x20)
}

/// As [`first_special`], for long texts.
fn far_special(bytes: &[u8]) -> Option<usize> {
    let found = memchr::memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
    let before = &bytes[..found];
    match before.iter().fold(u8::MAX, |least, &byte| least.min(byte)) < 0x20 {
        true => before.iter().position(is_special),
        false => (found < bytes.len()).then_some(found),
    }
}

/// Which lists and maps are open: one bit for each, whether it is a map. Most values need no memory beyond the first
/// word.
#[derive(Default)]
struct Levels {
    depth: usize,
    first: u64,
    more: Vec<u64>,
}

impl Levels {
    fn open(&mut self, is_map: bool) {
        let bit = 1u64 << (self.depth % 64);
        let word = match self.depth / 64 {
            0 => &mut self.first,
            index => {
                if self.more.len() < index {
                    self.more.push(0);
                }
                &mut self.more[index - 1]
            }
        };
        if is_map {
            *word |= bit
        } else {
            *word &= !bit
        }
        self.depth += 1;
    }

    fn close(&mut self) {
        self.depth -= 1;
    }

    fn innermost_is_map(&self) -> Option<bool> {
        let innermost = self.depth.checked_sub(1)?;
        let word = match innermost / 64 {
            0 => self.first,
            index => self.more[index - 1],
        };
        Some(word & (1 << (innermost % 64)) != 0)
    }
}

/// Replaces the escapes in a string that `skip_string` has checked. `inside` is the string without its quotes.
fn unescape(inside: &str) -> String {
    let mut out = String::with_capacity(inside.len());
    let mut rest = inside;
    while let Some(found) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..found]);
        let escape = &rest.as_bytes()[found + 1..];
        let mut length = 2;
        out.push(match escape.first() {
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = hex4(&escape[1..]).unwrap_or_default();
                let second = escape.get(5..7).filter(|s| s == b"\\u").and_then(|_| hex4(&escape[7..]));
                let units = [first, second.unwrap_or_default()];
                length = 6;
                match (char::decode_utf16(units).next(), first) {
                    (Some(Ok(c)), 0xd800..=0xdbff) => {
                        length = 12;
                        c
                    }
                    (Some(Ok(c)), _) => c,
                    _ => FOR_HALF_A_PAIR,
                }
            }
            Some(&other) => char::from(other),
            // `skip_string` has seen a character behind each backslash.
            None => break,
        });
        rest = &rest[found + length..];
    }
    out.push_str(rest);
    out
}

fn hex4(bytes: &[u8]) -> Option<u16> {
    bytes.get(..4)?.iter().try_fold(0u16, |unit, &b| Some(unit << 4 | char::from(b).to_digit(16)? as u16))
}

/// Checks that bytes are UTF-8.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|e| Error::new(ErrorKind::Decode, "read the text as UTF-8").with_source(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(text: &str) -> bool {
        let mut reader = JsonReader::new(text);
        reader.skip().and_then(|()| reader.end()).is_ok()
    }

    #[test]
    fn the_first_special_byte_of_a_string_is_found_wherever_it_stands() {
        for length in 0..3 * NEAR {
            let plain = vec![b'a'; length];
            assert_eq!(first_special(&plain), None);
            for place in 0..length {
                for byte in [b'"', b'\\', 0, b'\n', 0x1f, b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xff] {
                    let mut bytes = plain.clone();
                    bytes[place] = byte;
                    // What follows it changes nothing.
                    bytes[place + 1..].iter_mut().step_by(2).for_each(|byte| *byte = b'"');
                    let wanted = bytes.iter().position(is_special);
                    assert_eq!(first_special(&bytes), wanted, "{byte} at {place} of {length}");
                }
            }
        }
    }

    #[test]
    fn pythons_json_is_accepted() {
        for text in [
            "null",
            " true ",
            "-0",
            "-0.0",
            "1e5",
            "1.5E-3",
            "NaN",
            "-Infinity",
            "[]",
            "{}",
            "[[], {}, 1]",
            r#"{"a": [1, {"b": null}], "c": "\u00e9\n"}"#,
            r#""\ud800""#,
            "123456789012345678901234567890",
        ] {
            assert!(ok(text), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            " ",
            "nul",
            "01",
            "1.",
            ".5",
            "-",
            "+1",
            "1e",
            "[1,]",
            "[1 2]",
            "{a: 1}",
            "{\"a\" 1}",
            "{\"a\": 1,}",
            "[",
            "]",
            "[}",
            "{\"a\": ]",
            "\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\n\"",
            "nan",
            "1 2",
            "--1",
            "'a'",
        ] {
            assert!(!ok(text), "{text}");
        }
    }

    #[test]
    fn values_nest_to_any_depth_without_recursion() {
        for depth in [1, 63, 64, 65, 127, 128, 129, 1_000, 1_000_000] {
            assert!(ok(&("[".repeat(depth) + &"]".repeat(depth))), "{depth}");
            assert!(ok(&("[{\"a\":".repeat(depth) + "1" + &"}]".repeat(depth))), "{depth}");
            assert!(!ok(&("[".repeat(depth) + &"]".repeat(depth - 1) + "}")), "{depth}");
            assert!(!ok(&"[{\"a\":".repeat(depth)), "{depth}");
        }
    }

    #[test]
    fn strings_are_unescaped() {
        let text = r#""a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00z""#;
        assert_eq!(JsonReader::new(text).string().unwrap(), "a\"\\/\u{8}\u{c}\n\r\té😀z");
    }

    #[test]
    fn half_a_surrogate_pair_becomes_the_replacement_character() {
        for (text, read) in [
            (r#""\udce9.txt""#, "\u{fffd}.txt"),
            (r#""\ud800x""#, "\u{fffd}x"),
            (r#""\ud800""#, "\u{fffd}"),
            (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (r#""\ud83d\u0041""#, "\u{fffd}A"),
            (r#""\ud83d\n""#, "\u{fffd}\n"),
        ] {
            assert_eq!(JsonReader::new(text).string().unwrap(), read, "{text}");
        }
    }
}
