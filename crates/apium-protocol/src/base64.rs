//! Standard base64 (RFC 4648 with padding), as kombu's typed envelopes and transports use it.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Encodes bytes.
pub fn encode(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    encode_into(bytes, &mut out);
    // The alphabet is ASCII.
    String::from_utf8(out).unwrap_or_default()
}

/// Appends the encoded bytes.
pub fn encode_into(bytes: &[u8], out: &mut Vec<u8>) {
    let letter = |word: u32, shift: u32| ALPHABET[(word >> shift) as usize & 0x3f];
    out.reserve(bytes.len().div_ceil(3) * 4);
    let (triples, rest) = bytes.as_chunks::<3>();
    for &[a, b, c] in triples {
        let word = u32::from_be_bytes([0, a, b, c]);
        out.extend_from_slice(&[letter(word, 18), letter(word, 12), letter(word, 6), letter(word, 0)]);
    }
    match *rest {
        [a] => {
            let word = u32::from_be_bytes([0, a, 0, 0]);
            out.extend_from_slice(&[letter(word, 18), letter(word, 12), b'=', b'=']);
        }
        [a, b] => {
            let word = u32::from_be_bytes([0, a, b, 0]);
            out.extend_from_slice(&[letter(word, 18), letter(word, 12), letter(word, 6), b'=']);
        }
        _ => {}
    }
}

/// Decodes text; line breaks and blanks are skipped. `None` when it is not base64.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut word, mut bits, mut padding) = (0u32, 0u32, 0u32);
    for &byte in text.as_bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                padding += 1;
                continue;
            }
            b'\r' | b'\n' | b' ' | b'\t' => continue,
            _ => return None,
        };
        if padding > 0 {
            return None;
        }
        word = (word << 6 | u32::from(six)) & 0x00ff_ffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits) as u8);
        }
    }
    // What is left over is at most padding: 0, 2 or 4 bits; 6 would be a lone letter.
    (bits < 6 && padding <= 2).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_every_length() {
        for length in 0..40u8 {
            let bytes: Vec<u8> = (0..length).map(|i| i.wrapping_mul(67)).collect();
            assert_eq!(decode(&encode(&bytes)).as_deref(), Some(&bytes[..]));
        }
    }

    #[test]
    fn known_texts() {
        assert_eq!(encode(b"\xff\xfe\x00"), "//4A");
        assert_eq!(encode(b"hi"), "aGk=");
        assert_eq!(decode("aG\nk="), Some(b"hi".to_vec()));
        assert_eq!(decode("aGk"), Some(b"hi".to_vec()));
    }

    #[test]
    fn refuses_what_is_not_base64() {
        for text in ["a", "a$==", "=aaa", "aa=a"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
