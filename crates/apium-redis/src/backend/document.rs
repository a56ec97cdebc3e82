//! Decoding of stored documents: JSON, or what `result_compression` and `result_serializer` of another worker made.

use std::sync::LazyLock;

use apium_protocol::codecs::accept::Accept;
use apium_protocol::codecs::codecs::Codecs;
use apium_protocol::result::document::{GroupDocument, ResultDocument};
use apium_transport::error::{Error, ErrorKind, Result};
use bytes::Bytes;

static CODECS: LazyLock<Codecs> = LazyLock::new(Codecs::standard);

/// The result document that is stored at `key`.
pub(crate) fn result(key: &str, bytes: &Bytes) -> Result<ResultDocument> {
    if bytes.first() == Some(&b'{')
        && let Ok(document) = ResultDocument::from_json(bytes)
    {
        return Ok(document);
    }
    ResultDocument::from_json(&json(key, bytes)?).map_err(|error| damaged(key, "is no result document", error))
}

/// The saved group that is stored at `key`.
pub(crate) fn group(key: &str, bytes: &Bytes) -> Result<GroupDocument> {
    GroupDocument::from_json(&json(key, bytes)?).map_err(|error| damaged(key, "is no saved group", error))
}

/// A stored document as JSON. Celery writes no header that names the serializer, so the first byte decides.
pub(crate) fn json(key: &str, bytes: &Bytes) -> Result<Bytes> {
    let plain = CODECS.open_result(bytes).map_err(|error| damaged(key, "is compressed and cannot be opened", error))?;
    let serializer = match *plain.as_ref() {
        [b'{' | b'[', ..] => return Ok(plain),
        // 0x80 begins a pickle, and is also an empty map of msgpack.
        [0x80, 2..=5, ..] => "pickle",
        [0x80..=0x9f | 0xdc..=0xdf, ..] => "msgpack",
        _ if plain.trim_ascii_start().starts_with(b"{") => return Ok(plain),
        _ => "yaml",
    };
    let decoded = CODECS.decode_value(&plain, serializer, &Accept::names([serializer]));
    match decoded {
        Ok(json) => Ok(json.into_bytes()),
        Err(error) => Err(damaged(key, &format!("seems to be written with the serializer {serializer}"), error)),
    }
}

fn damaged(key: &str, what: &str, error: apium_protocol::error::Error) -> Error {
    Error::new(ErrorKind::Corrupt, format!("read the value of {key}: it {what}")).with_source(error)
}

#[cfg(test)]
mod tests {
    use apium_protocol::result::state::State;
    use apium_transport::error::ErrorKind;
    use bytes::Bytes;

    use super::result;

    #[test]
    fn what_cannot_be_read_says_so() {
        for (bytes, words) in [
            (&b"\x80\x04\x95"[..], "pickle"),
            (b"{\"status\": \"SUCCESS\"}", "task_id"),
            (b"\x00celery-compressed\x00application/x-gzip\x00nothing", "compressed"),
            (b"\x00celery-compressed\x00application/x-own\x00nothing", "application/x-own"),
            (b"- a\n- b\n", "no result document"),
            (b"\xff\xfe", "the-key"),
            (b"", "the-key"),
        ] {
            let error = result("the-key", &Bytes::from_static(bytes)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            let text = format!("{error:#}");
            assert!(text.contains(words) && text.contains("the-key"), "{text}");
        }
    }

    #[test]
    fn white_space_before_a_document_is_passed_over() {
        let document = result("k", &Bytes::from_static(b" \n{\"status\": \"SUCCESS\", \"task_id\": \"t\"}")).unwrap();
        assert_eq!(document.state, State::Success);
    }
}
