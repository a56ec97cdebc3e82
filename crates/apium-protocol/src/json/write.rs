//! Strings and numbers as Python's `json.dumps` writes them: in ASCII, with Python's escapes, floats like `repr`.

use std::io::Write;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Whether Python writes the byte without an escape.
#[inline]
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\')
}

/// Writes a string with its quotes.
pub(crate) fn write_str(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    write_escaped(out, text, true);
    out.push(b'"');
}

/// Writes a string without quotes around it. Characters from U+0080 on are escaped if `ascii`.
pub(crate) fn write_escaped(out: &mut Vec<u8>, text: &str, ascii: bool) {
    let bytes = text.as_bytes();
    let mut from = 0;
    while let Some(found) = first_special(&bytes[from..]) {
        let at = from + found;
        out.extend_from_slice(&bytes[from..at]);
        let Some(special) = text[at..].chars().next() else { return };
        write_char(out, special, ascii);
        from = at + special.len_utf8();
    }
    out.extend_from_slice(&bytes[from..]);
}

/// The index of the first byte that Python escapes. It looks at many bytes at once, since most texts have none.
fn first_special(bytes: &[u8]) -> Option<usize> {
    const LARGE: usize = 16;
    const SMALL: usize = 8;
    let has_special = match bytes {
        [] => return None,
        // The last block overlaps the one before it, so that no byte is looked at alone.
        [.., _] if bytes.len() >= LARGE => {
            let (blocks, _) = bytes.as_chunks::<LARGE>();
            blocks.iter().any(any_special) || bytes.last_chunk::<LARGE>().is_some_and(any_special)
        }
        [.., _] if bytes.len() >= SMALL => {
            bytes.first_chunk::<SMALL>().is_some_and(any_special)
                || bytes.last_chunk::<SMALL>().is_some_and(any_special)
        }
        _ => true,
    };
    if has_special { bytes.iter().position(|&byte| !is_plain(byte)) } else { None }
}

/// Whether any byte of a block is escaped. It has no branch, so that the compiler looks at all of them at once.
#[inline]
fn any_special<const N: usize>(block: &[u8; N]) -> bool {
    block.iter().fold(false, |found, &byte| found | !is_plain(byte))
}

fn write_char(out: &mut Vec<u8>, c: char, ascii: bool) {
    match c {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        '\u{8}' => out.extend_from_slice(b"\\b"),
        '\u{c}' => out.extend_from_slice(b"\\f"),
        c if !ascii && c > '\u{7f}' => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        c => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write_unit(out, *unit);
            }
        }
    }
}

fn write_unit(out: &mut Vec<u8>, unit: u16) {
    let digit = |shift: u32| HEX[usize::from((unit >> shift) & 0xf)];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

/// Writes anything that has a `Display` text.
pub(crate) fn write_display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    // Writing into a Vec does not fail.
    let _ = write!(out, "{value}");
}

/// Writes an integer.
pub(crate) fn write_int(out: &mut Vec<u8>, value: i64) {
    if (0..10).contains(&value) {
        out.push(b'0' + value as u8);
    } else {
        write_display(out, value);
    }
}

/// Writes a float as Python's `json.dumps` does: `3.0`, `-0.0`, `1e+16`, `1e-05`, `NaN`, `Infinity`.
pub(crate) fn write_f64(out: &mut Vec<u8>, value: f64) {
    write_float_text(out, value, |out| {
        let _ = write!(out, "{value:?}");
    });
}

/// Writes a float of single precision with the fewest digits that identify it.
pub(crate) fn write_f32(out: &mut Vec<u8>, value: f32) {
    write_float_text(out, f64::from(value), |out| {
        let _ = write!(out, "{value:?}");
    });
}

fn write_float_text(out: &mut Vec<u8>, value: f64, digits: impl FnOnce(&mut Vec<u8>)) {
    if value.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
    }
    let start = out.len();
    digits(out);
    // Rust writes 1e16 and 1e-5 where Python writes 1e+16 and 1e-05.
    let Some(found) = out[start..].iter().position(|&b| b == b'e') else { return };
    let exponent = out.split_off(start + found + 1);
    let (sign, figures) = match exponent.split_first() {
        Some((b'-', rest)) => (b'-', rest),
        _ => (b'+', &exponent[..]),
    };
    out.push(sign);
    if figures.len() < 2 {
        out.push(b'0');
    }
    out.extend_from_slice(figures);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_special_byte_is_found_wherever_it_stands() {
        for length in 0..40 {
            let plain = vec![b'a'; length];
            assert_eq!(first_special(&plain), None);
            for place in 0..length {
                for byte in 0..=u8::MAX {
                    let mut bytes = plain.clone();
                    bytes[place] = byte;
                    assert_eq!(
                        first_special(&bytes),
                        (!is_plain(byte)).then_some(place),
                        "{byte} at {place} of {length}"
                    );
                }
            }
        }
        assert_eq!(first_special(b" !#$%&'()*+,-./0123456789:;<=>?@AZ[]^_`az{|}~"), None);
        assert_eq!(first_special("0123456\u{100}\"".as_bytes()), Some(7));
    }

    fn float(value: f64) -> String {
        let mut out = Vec::new();
        write_f64(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_are_written_as_python_writes_them() {
        let cases = [
            (3.0, "3.0"),
            (-0.0, "-0.0"),
            (1e16, "1e+16"),
            (123456789012345.0, "123456789012345.0"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (1.5e300, "1.5e+300"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
        ];
        for (value, text) in cases {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn strings_are_ascii_with_surrogate_pairs() {
        let mut out = Vec::new();
        write_str(&mut out, "a\"\\/\u{7f}é\n\u{1}😀");
        assert_eq!(String::from_utf8(out).unwrap(), r#""a\"\\/\u007f\u00e9\n\u0001\ud83d\ude00""#);
    }

    #[test]
    fn strings_keep_their_letters_without_ascii() {
        let mut out = Vec::new();
        write_escaped(&mut out, "é😀\t\u{7f}", false);
        assert_eq!(String::from_utf8(out).unwrap(), "é😀\\t\\u007f");
    }
}
