//! Text bodies in the encodings that a message may name.

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};

/// The text as UTF-8 (checked by whoever reads it). Unnamed and binary ones are taken for UTF-8.
pub(crate) fn to_utf8(bytes: Bytes, encoding: Option<&str>) -> Result<Bytes> {
    let Some(encoding) = encoding.filter(|name| *name != "utf-8") else { return Ok(bytes) };
    match encoding.to_ascii_lowercase().as_str() {
        "" | "utf8" | "utf_8" | "ascii" | "us-ascii" | "binary" | "ascii-8bit" => Ok(bytes),
        "latin-1" | "latin1" | "iso-8859-1" => Ok(bytes.iter().map(|&b| char::from(b)).collect::<String>().into()),
        "utf-8-sig" => Ok(bytes.strip_prefix(b"\xef\xbb\xbf").map(|rest| bytes.slice_ref(rest)).unwrap_or(bytes)),
        _ => Err(Error::new(
            ErrorKind::Decode,
            format!("read text in the content encoding `{encoding}`: utf-8 is expected"),
        )),
    }
}
