//! Standard base64 (RFC 4648 with padding), as kombu's typed envelopes and transports use it.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What each letter stands for; 255 for what is no letter of base64.
const SIXES: [u8; 256] = {
    let mut sixes = [u8::MAX; 256];
    let mut six = 0;
    while six < ALPHABET.len() {
        sixes[ALPHABET[six] as usize] = six as u8;
        six += 1;
    }
    sixes
};

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
    let mut out = Vec::with_capacity(text.len().div_ceil(4) * 3);
    // Four letters at a time, up to the first four with anything else among them.
    let (quads, _) = text.as_bytes().as_chunks::<4>();
    let mut letters = 0;
    for quad in quads {
        let [a, b, c, d] = quad.map(|byte| SIXES[usize::from(byte)]);
        if (a | b | c | d) > 63 {
            break;
        }
        let word = u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d);
        out.extend_from_slice(&word.to_be_bytes()[1..]);
        letters += 4;
    }
    let (mut word, mut bits, mut padding) = (0u32, 0u32, 0u32);
    for &byte in &text.as_bytes()[letters..] {
        let six = match byte {
            b'=' => {
                padding += 1;
                continue;
            }
            b'\r' | b'\n' | b' ' | b'\t' => continue,
            _ => SIXES[usize::from(byte)],
        };
        if padding > 0 || six > 63 {
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
        assert_eq!(decode("//4A\r\n//4A aG\tk="), Some(b"\xff\xfe\x00\xff\xfe\x00hi".to_vec()));
        assert_eq!(decode("aGk"), Some(b"hi".to_vec()));
    }

    #[test]
    fn refuses_what_is_not_base64() {
        for text in ["a", "a$==", "=aaa", "aa=a", "aaaaa", "aaaaé", "aaaaaa=a", "aaa=aaaa", "aaaa==="] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
