//! JSON text for people to read, with characters instead of `\uXXXX`.

/// Replaces the escapes of U+0080 and above by their characters. Half a surrogate pair stays escaped.
pub(crate) fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (letter, length) = escape(rest);
        match letter {
            Some(letter) => out.push(letter),
            None => out.push_str(&rest[..length]),
        }
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
}

/// Reads the escape at the beginning: the character to write instead, `None` if it stays escaped, and its length.
fn escape(text: &str) -> (Option<char>, usize) {
    let Some(first) = unit(text) else { return (None, text.len().min(2)) };
    match char::decode_utf16([first]).next() {
        Some(Ok(letter)) if letter >= '\u{80}' => (Some(letter), 6),
        Some(Ok(_)) => (None, 6),
        _ => {
            let pair = text.get(6..).and_then(unit).and_then(|second| char::decode_utf16([first, second]).next()?.ok());
            (pair, if pair.is_some() { 12 } else { 6 })
        }
    }
}

/// The UTF-16 code unit of a `\uXXXX` at the beginning.
fn unit(text: &str) -> Option<u16> {
    u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::unescaped;

    #[test]
    fn letters_are_written_and_the_others_stay_escaped() {
        let cases = [
            (r#""caf\u00e9 \ud83d\ude00""#, "\"café 😀\""),
            (r#""\\u00e9 \n \u0041 \u0000""#, r#""\\u00e9 \n \u0041 \u0000""#),
            (r#""\ud83d x \ude00""#, r#""\ud83d x \ude00""#),
            (r#""\u007f\u0080""#, "\"\\u007f\u{80}\""),
            ("[1, \"é\"]", "[1, \"é\"]"),
        ];
        for (text, expected) in cases {
            assert_eq!(unescaped(text), expected);
        }
    }
}
