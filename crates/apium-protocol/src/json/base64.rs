//! Base64 as kombu's typed envelopes and transports use it: the standard alphabet, written with padding. It may be read
//! without padding, and with line breaks and blanks.

use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::engine::{DecodePaddingMode, Engine as _};

/// The engine for text whose padding was removed. The unused bits of the last character may have any value.
const UNPADDED: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// Encodes bytes.
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Appends the encoded bytes.
pub fn encode_into(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // The room is exactly as much as the text needs, so encoding cannot fail.
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or_default();
    out.truncate(start + written);
}

/// Decodes text, skipping line breaks and blanks. Padding may be missing. `None` if it is not base64.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let is_blank = |byte: &u8| matches!(byte, b'\r' | b'\n' | b' ' | b'\t');
    match decode_unbroken(text.as_bytes()) {
        None if text.as_bytes().iter().any(is_blank) => {
            let unbroken: Vec<u8> = text.bytes().filter(|byte| !is_blank(byte)).collect();
            decode_unbroken(&unbroken)
        }
        decoded => decoded,
    }
}

fn decode_unbroken(text: &[u8]) -> Option<Vec<u8>> {
    let unpadded = text.strip_suffix(b"==").or(text.strip_suffix(b"=")).unwrap_or(text);
    UNPADDED.decode(unpadded).ok()
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
