//! Tests of the codecs by name.

use std::sync::Arc;

use bytes::Bytes;

use crate::codecs::accept::Accept;
use crate::codecs::codecs::*;
use crate::codecs::serializer::{Compression, Serializer};
use crate::error::{ErrorKind, Result};
use crate::json::text::Json;
use crate::message::body::Body;
use crate::message::headers::Headers;
use crate::message::message::Message;
use crate::message::properties::Properties;
use crate::message::task_id::TaskId;
use crate::value::value::Value;

fn body() -> Body {
    Body {
        args: vec![Json::from_text("[1, 2.5, \"x\"]").unwrap(), Json::NULL],
        kwargs: vec![("key".into(), Json::from_text("{\"a\": true}").unwrap())],
        ..Body::default()
    }
}

fn message(codecs: &Codecs, serializer: &str, compression: Option<&str>) -> Message {
    let headers = Headers { task: Some("t".into()), id: Some(TaskId::from("i")), ..Headers::default() };
    codecs.encode_body(&body(), serializer, compression).unwrap().into_message(headers, Properties::default())
}

#[test]
fn pickle_is_neither_written_nor_read() {
    let codecs = Codecs::standard();
    for name in ["pickle", "application/x-python-serialize"] {
        let error = codecs.encode_body(&body(), name, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotAccepted);
        assert!(error.to_string().contains("pickle"), "{error}");
        let mut message = message(&codecs, "json", None);
        message.properties.content_type = Some(name.to_owned().into());
        let error = codecs.decode(&message, &Accept::names(["json", "pickle", name])).unwrap_err();
        assert!(error.to_string().contains("pickle runs whatever code"), "{error}");
        assert!(codecs.check_accept(&Accept::names([name])).is_err());
    }
}

#[test]
fn only_what_is_accepted_is_decoded() {
    let codecs = Codecs::standard();
    let yaml = message(&codecs, "yaml", None);
    let error = codecs.decode(&yaml, &Accept::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAccepted);
    assert_eq!(error.to_string(), "accept the content type `application/x-yaml`: accept_content is json");
    for name in ["yaml", "application/x-yaml", "YAML"] {
        assert_eq!(codecs.decode(&yaml, &Accept::names([name])).unwrap().body, body());
    }
    let json = message(&codecs, "json", None);
    assert_eq!(codecs.decode(&json, &Accept::names(["yaml"])).unwrap_err().kind(), ErrorKind::NotAccepted);
    let mut unknown = json;
    unknown.properties.content_type = Some("application/x-nothing".into());
    assert_eq!(codecs.decode(&unknown, &Accept::default()).unwrap_err().kind(), ErrorKind::UnknownSerializer);
}

#[test]
fn compressions_round_trip_by_each_name() {
    let codecs = Codecs::standard();
    for name in ["gzip", "zlib", "bzip2", "bzip", "lzma", "xz", "brotli", "zstd", "zstandard"] {
        let message = message(&codecs, "msgpack", Some(name));
        assert!(message.headers.compression.is_some(), "{name}");
        assert_eq!(codecs.decode(&message, &Accept::names(["msgpack"])).unwrap().body, body(), "{name}");
    }
    assert_eq!(codecs.encode_body(&body(), "json", Some("nope")).unwrap_err().kind(), ErrorKind::UnknownCompression);
}

#[test]
fn a_body_that_becomes_too_large_is_refused() {
    let codecs = Codecs::standard().with_decompressed_limit(1000);
    let big = Body { args: vec![Json::from_serialize(&"x".repeat(2000)).unwrap()], ..Body::default() };
    for name in ["gzip", "bzip2", "lzma", "brotli", "zstd"] {
        let headers = Headers { task: Some("t".into()), id: Some(TaskId::from("i")), ..Headers::default() };
        let message =
            codecs.encode_body(&big, "json", Some(name)).unwrap().into_message(headers, Properties::default());
        let error = codecs.decode(&message, &Accept::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decompress);
        assert!(format!("{error:#}").contains("more than 1000 bytes"), "{error:#}");
    }
}

/// The first bytes of a body may name the memory that reading the rest of it takes.
#[test]
fn a_body_that_asks_for_much_memory_is_refused() {
    let codecs = Codecs::standard();
    // A dictionary of 4 GiB.
    let mut lzma = vec![0x5d, 0xff, 0xff, 0xff, 0xff];
    lzma.extend([0xff; 8]);
    lzma.extend([0; 32]);
    // A window of 128 MiB, and one byte.
    let zstd = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 17 << 3, 9, 0, 0, b'x'];
    for (name, bomb, why) in [("lzma", lzma, "memory limit"), ("zstd", zstd, "too much memory")] {
        let mut message = message(&codecs, "json", Some(name));
        message.body = bomb.into();
        let error = codecs.decode(&message, &Accept::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decompress, "{name}");
        assert!(format!("{error:#}").contains(why), "{name}: {error:#}");
    }
}

#[test]
fn truncated_bytes_are_errors() {
    let codecs = Codecs::standard();
    for name in ["gzip", "bzip2", "lzma", "brotli", "zstd"] {
        let mut message = message(&codecs, "json", Some(name));
        message.body.truncate(message.body.len() / 2);
        assert_eq!(codecs.decode(&message, &Accept::default()).unwrap_err().kind(), ErrorKind::Decompress, "{name}");
    }
}

#[test]
fn added_codecs_are_used_by_name() {
    struct Reversed;
    impl Serializer for Reversed {
        fn name(&self) -> &str {
            "reversed"
        }
        fn content_type(&self) -> &str {
            "application/x-reversed"
        }
        fn encode(&self, value: &Value) -> Result<Vec<u8>> {
            Ok(value.to_json_bytes().into_iter().rev().collect())
        }
        fn decode(&self, bytes: &[u8]) -> Result<Value> {
            let bytes: Vec<u8> = bytes.iter().rev().copied().collect();
            Value::parse(crate::json::reader::utf8(&bytes)?)
        }
    }
    impl Compression for Reversed {
        fn names(&self) -> &[&str] {
            &["flip"]
        }
        fn mime(&self) -> &str {
            "application/x-flip"
        }
        fn compress(&self, bytes: &[u8]) -> Result<Vec<u8>> {
            Ok(bytes.iter().map(|b| !b).collect())
        }
        fn decompress(&self, bytes: &[u8], _limit: usize) -> Result<Vec<u8>> {
            self.compress(bytes)
        }
    }
    let codecs = Codecs::standard().with_serializer(Arc::new(Reversed)).with_compression(Arc::new(Reversed));
    let message = message(&codecs, "reversed", Some("flip"));
    assert_eq!(message.properties.content_encoding.as_deref(), Some("binary"));
    assert_eq!(message.headers.compression.as_deref(), Some("application/x-flip"));
    assert_eq!(codecs.decode(&message, &Accept::names(["reversed"])).unwrap().body, body());
}

#[test]
fn results_are_compressed_with_a_prefix() {
    let codecs = Codecs::standard();
    let packed = codecs.compress_result(b"{\"a\": 1}", "zlib").unwrap();
    assert!(packed.starts_with(b"\x00celery-compressed\x00application/x-gzip\x00"));
    assert_eq!(codecs.open_result(&packed.into()).unwrap(), &b"{\"a\": 1}"[..]);
    assert_eq!(codecs.open_result(&Bytes::from_static(b"{}")).unwrap(), &b"{}"[..]);
    assert!(codecs.open_result(&Bytes::from_static(b"\x00celery-compressed\x00nope")).is_err());
}

#[test]
fn single_values_round_trip() {
    let codecs = Codecs::standard();
    for name in ["json", "msgpack", "yaml"] {
        let value = Json::from_text(r#"{"a": [1, 2.0, null], "b": "\u00e9"}"#).unwrap();
        let encoded = codecs.encode_value(&value, name).unwrap();
        let back = codecs.decode_value(&encoded.bytes, &encoded.content_type, &Accept::names([name])).unwrap();
        assert_eq!(back, value, "{name}");
    }
}

#[test]
fn msgpack_says_what_it_cannot_write() {
    let huge = Json::from_text("123456789012345678901234567890").unwrap();
    let error = Codecs::standard().encode_value(&huge, "msgpack").unwrap_err();
    assert!(format!("{error:#}").contains("does not fit 64 bits"), "{error:#}");
}

#[test]
fn text_may_be_in_latin_1() {
    let codecs = Codecs::standard();
    let mut message = message(&codecs, "json", None);
    message.body = Bytes::from_static(b"[[\"\xe9\"], {}, null]");
    message.properties.content_encoding = Some("latin-1".into());
    assert_eq!(codecs.decode(&message, &Accept::default()).unwrap().body.args[0].decode::<String>().unwrap(), "é");
    message.properties.content_encoding = Some("utf-16".into());
    assert_eq!(codecs.decode(&message, &Accept::default()).unwrap_err().kind(), ErrorKind::Decode);
}
