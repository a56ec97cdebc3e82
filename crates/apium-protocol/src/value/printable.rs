//! Texts of others for a log or a terminal: on one line, and without what a terminal obeys.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// Shows a text, or anything that has one, with its control characters escaped. So a text that came in a message can
/// neither begin a line of its own in a log nor move the cursor of a terminal.
///
/// The escapes are those of JSON (`\n`, `\u001b`), so a line of JSON stays JSON. Escaped are the control characters of
/// ASCII and of Latin-1, the separators of lines and paragraphs, and the marks that turn the direction of writing.
///
/// # Examples
///
/// ```
/// use apium_protocol::value::printable::printable;
///
/// assert_eq!(printable("boom\n2026-01-01 INFO all is well").to_string(), "boom\\n2026-01-01 INFO all is well");
/// assert_eq!(printable("\u{1b}[2J").to_string(), "\\u001b[2J");
/// ```
pub fn printable<T: fmt::Display>(text: T) -> Printable<T> {
    Printable(text)
}

/// As [`printable`], as a text: the one that was given where it has nothing to escape.
///
/// Fields of log lines are made so. Some formats of logs write a field as it is, or escape less than what begins a line
/// or moves a cursor.
pub fn printable_text(text: &str) -> Cow<'_, str> {
    // Ids are such texts, and each run has one.
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    match is_plain || !text.contains(is_escaped) {
        true => text.into(),
        false => printable(text).to_string().into(),
    }
}

/// What [`printable`] returns.
#[derive(Debug, Clone, Copy)]
pub struct Printable<T>(T);

impl<T: fmt::Display> fmt::Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

/// Writes what it gets with escapes.
struct Escaping<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut written = 0;
        for (at, character) in text.char_indices().filter(|(_, character)| is_escaped(*character)) {
            self.0.write_str(&text[written..at])?;
            written = at + character.len_utf8();
            match character {
                '\n' => self.0.write_str("\\n"),
                '\r' => self.0.write_str("\\r"),
                '\t' => self.0.write_str("\\t"),
                other => write!(self.0, "\\u{:04x}", u32::from(other)),
            }?;
        }
        self.0.write_str(&text[written..])
    }
}

fn is_escaped(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::{printable, printable_text};

    #[test]
    fn control_characters_are_escaped_and_all_others_stay() {
        for (text, shown) in [
            ("", ""),
            ("plain text, naïve 日本 \u{1f40d} \\ \"", "plain text, naïve 日本 \u{1f40d} \\ \""),
            ("a\nb\r\n\tc", "a\\nb\\r\\n\\tc"),
            ("\u{1b}[31mred\u{1b}[0m\u{7}", "\\u001b[31mred\\u001b[0m\\u0007"),
            ("\0\u{7f}\u{85}\u{9b}2J", "\\u0000\\u007f\\u0085\\u009b2J"),
            ("a\u{2028}b\u{2029}c", "a\\u2028b\\u2029c"),
            ("admin\u{202e}gpj.exe\u{2066}", "admin\\u202egpj.exe\\u2066"),
        ] {
            assert_eq!((printable(text).to_string(), &*printable_text(text)), (shown.to_owned(), shown));
            assert_eq!(printable(format_args!("{text}{text}")).to_string(), format!("{shown}{shown}"));
        }
    }

    #[test]
    fn json_stays_the_same_json() {
        let value = "a\u{9b}b\u{2028}\n\u{1b}";
        let text = serde_json::to_string(value).unwrap();
        let shown = printable(&text).to_string();
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), value);
        assert!(!shown.chars().any(char::is_control));
    }
}
