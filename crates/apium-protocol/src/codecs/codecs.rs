//! Encoding and decoding of bodies and results, with serializers and compressions by name.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::json::text::Json;
use crate::message::body::Body;
use crate::message::headers::Headers;
use crate::message::message::Message;
use crate::message::properties::Properties;
use crate::value::value::Value;

use crate::codecs::accept::Accept;
use crate::codecs::invocation::Invocation;
use crate::codecs::serializer::{Compression, Serializer};

/// The largest size that a compressed body may have when it is decompressed: 512 MiB.
pub const DEFAULT_DECOMPRESSED_LIMIT: usize = 512 << 20;

/// A compressed result (Celery's `result_compression`) begins with this, the MIME type and a zero byte.
const COMPRESSED_RESULT: &[u8] = b"\x00celery-compressed\x00";

/// The MIME type of JSON.
pub(crate) const JSON: &str = "application/json";

/// The registered serializers and compressions. Cheap to clone.
///
/// The standard serializers are json, msgpack and yaml (features `msgpack` and `yaml`), the standard compressions gzip,
/// bzip2, lzma, brotli and zstd (feature `compression`).
#[derive(Clone)]
pub struct Codecs(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    serializers: Vec<Arc<dyn Serializer>>,
    compressions: Vec<Arc<dyn Compression>>,
    /// The most bytes that a decompressed body may have.
    decompressed_limit: usize,
}

/// An encoded body or value, with what its message must say about it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EncodedBody {
    /// The bytes: serialized, then compressed.
    pub bytes: Bytes,
    /// The property `content_type`: the serializer's MIME type.
    pub content_type: Cow<'static, str>,
    /// The property `content_encoding`: `utf-8` or `binary`.
    pub content_encoding: Cow<'static, str>,
    /// The header `compression`: the compression's MIME type; `None` for a body that is not compressed.
    pub compression: Option<Cow<'static, str>>,
}

impl EncodedBody {
    /// Makes a message with these headers and properties. Sets content type, content encoding and compression in them.
    pub fn into_message(self, mut headers: Headers, mut properties: Properties) -> Message {
        properties.content_type = Some(self.content_type);
        properties.content_encoding = Some(self.content_encoding);
        headers.compression = self.compression;
        Message { properties, headers, body: self.bytes }
    }
}

impl Default for Codecs {
    fn default() -> Self {
        Self::standard()
    }
}

impl fmt::Debug for Codecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codecs")
            .field("serializers", &self.serializer_names().collect::<Vec<_>>())
            .field("compressions", &self.compression_names().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Codecs {
    /// The standard serializers and compressions.
    pub fn standard() -> Self {
        Self(Arc::new(Inner {
            serializers: crate::codecs::builtin::serializers(),
            compressions: crate::codecs::builtin::compressions(),
            decompressed_limit: DEFAULT_DECOMPRESSED_LIMIT,
        }))
    }

    /// Adds a serializer. It replaces an earlier one of the same name or content type; JSON cannot be replaced.
    #[must_use]
    pub fn with_serializer(mut self, serializer: Arc<dyn Serializer>) -> Self {
        Arc::make_mut(&mut self.0).serializers.insert(0, serializer);
        self
    }

    /// Adds a compression. It replaces an earlier one of the same name or MIME type.
    #[must_use]
    pub fn with_compression(mut self, compression: Arc<dyn Compression>) -> Self {
        Arc::make_mut(&mut self.0).compressions.insert(0, compression);
        self
    }

    /// Sets the most bytes that a body may have when it is decompressed, [`DEFAULT_DECOMPRESSED_LIMIT`] by default. A
    /// larger body is refused with [`ErrorKind::Decompress`].
    #[must_use]
    pub fn with_decompressed_limit(mut self, bytes: usize) -> Self {
        Arc::make_mut(&mut self.0).decompressed_limit = bytes;
        self
    }

    /// The names of the serializers.
    pub fn serializer_names(&self) -> impl Iterator<Item = &str> {
        self.0.serializers.iter().map(|serializer| serializer.name())
    }

    /// The first name of each compression.
    pub fn compression_names(&self) -> impl Iterator<Item = &str> {
        self.0.compressions.iter().filter_map(|compression| compression.names().first().copied())
    }

    /// Finds a serializer by its name or content type, in lower or upper case.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownSerializer`], or [`ErrorKind::NotAccepted`] for pickle, which is never used.
    pub fn serializer(&self, name: &str) -> Result<&dyn Serializer> {
        let name = mime_of(name);
        if let Some(refusal) = crate::codecs::refused::refused_serializer(name) {
            return Err(refusal);
        }
        let is = |serializer: &&Arc<dyn Serializer>| {
            serializer.name().eq_ignore_ascii_case(name) || serializer.content_type().eq_ignore_ascii_case(name)
        };
        match self.0.serializers.iter().find(is) {
            Some(serializer) => Ok(&**serializer),
            None => Err(crate::codecs::refused::unknown_serializer(name, self.serializer_names())),
        }
    }

    /// Finds a compression by one of its names or its MIME type, in lower or upper case.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownCompression`] if there is none.
    pub fn compression(&self, name: &str) -> Result<&dyn Compression> {
        let is = |compression: &&Arc<dyn Compression>| {
            compression.mime().eq_ignore_ascii_case(name)
                || compression.names().iter().any(|own| own.eq_ignore_ascii_case(name))
        };
        match self.0.compressions.iter().find(is) {
            Some(compression) => Ok(&**compression),
            None => Err(crate::codecs::refused::unknown_compression(name, self.compression_names())),
        }
    }

    /// Checks that every name in an accept list is that of a serializer.
    ///
    /// # Errors
    /// As [`serializer`](Self::serializer).
    pub fn check_accept(&self, accept: &Accept) -> Result<()> {
        accept.iter().try_for_each(|name| self.serializer(name).map(|_| ()))
    }

    /// Encodes the body of a task message. Serializer and compression are given by name or MIME type.
    ///
    /// # Errors
    /// If a name is unknown or refused, or if the serializer cannot write a value (msgpack has no integers beyond 64
    /// bits).
    pub fn encode_body(&self, body: &Body, serializer: &str, compression: Option<&str>) -> Result<EncodedBody> {
        self.encode(body.to_json(), serializer, compression)
    }

    /// Encodes one value of a result. The serializer is given by name or MIME type.
    ///
    /// # Errors
    /// As [`encode_body`](Self::encode_body).
    pub fn encode_value(&self, value: &Json, serializer: &str) -> Result<EncodedBody> {
        if is_json(serializer) {
            return Ok(json_body(value.clone().into_bytes()));
        }
        self.encode(value.as_bytes().to_vec(), serializer, None)
    }

    /// Encodes the body of a message, which is JSON, with another serializer, given by name or MIME type, and says so
    /// in its properties. A message whose body cannot be encoded stays as it is.
    ///
    /// # Errors
    /// As [`encode_body`](Self::encode_body), or if the body is no JSON.
    pub fn reformat(&self, message: &mut Message, serializer: &str) -> Result<()> {
        if is_json(serializer) {
            return Ok(());
        }
        let encoded = self.encode_value(&Json::from_bytes(message.body.clone())?, serializer)?;
        message.body = encoded.bytes;
        message.properties.content_type = Some(encoded.content_type);
        message.properties.content_encoding = Some(encoded.content_encoding);
        Ok(())
    }

    fn encode(&self, json: Vec<u8>, serializer: &str, compression: Option<&str>) -> Result<EncodedBody> {
        let mut encoded = if is_json(serializer) {
            json_body(json.into())
        } else {
            let serializer = self.serializer(serializer)?;
            EncodedBody {
                bytes: serializer.encode(&Value::parse(crate::json::reader::utf8(&json)?)?)?.into(),
                content_type: Cow::Owned(serializer.content_type().to_owned()),
                content_encoding: Cow::Owned(serializer.content_encoding().to_owned()),
                compression: None,
            }
        };
        if let Some(name) = compression {
            let compression = self.compression(name)?;
            encoded.bytes = compression.compress(&encoded.bytes)?.into();
            encoded.compression = Some(Cow::Owned(compression.mime().to_owned()));
        }
        Ok(encoded)
    }

    /// Decodes a task message of Celery's protocol 2 or 1, or one that has the headers of 2 and the body of 1. `accept`
    /// is the setting `accept_content`.
    ///
    /// # Errors
    /// [`ErrorKind::NotAccepted`] if its content type is not in `accept` (pickle never is), `UnknownSerializer`,
    /// `UnknownCompression`, `Decompress`, `Decode` if its bytes are damaged, and `NotATask` if it can be decoded but
    /// is not a task message.
    pub fn decode(&self, message: &Message, accept: &Accept) -> Result<Invocation> {
        let properties = &message.properties;
        let Some(content_type) = properties.content_type.as_deref() else {
            return Err(Error::new(
                ErrorKind::NotATask,
                "tell how to decode the body: the message has no content type",
            ));
        };
        let compression = message.headers.compression.as_deref();
        let bytes =
            self.to_json(&message.body, compression, content_type, properties.content_encoding.as_deref(), accept)?;
        Invocation::read(&message.headers, &bytes)
    }

    /// Decodes one value of a result, which may be compressed. `content_type` may also be the name of a serializer.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_value(&self, bytes: &Bytes, content_type: &str, accept: &Accept) -> Result<Json> {
        let bytes = self.open_result(bytes)?;
        Json::from_bytes(self.to_json(&bytes, None, content_type, None, accept)?)
    }

    /// Decompresses a body and converts it to JSON text. A body that is JSON already is not parsed here.
    fn to_json(
        &self,
        body: &Bytes,
        compression: Option<&str>,
        content_type: &str,
        content_encoding: Option<&str>,
        accept: &Accept,
    ) -> Result<Bytes> {
        let is_accepted_json = is_json(content_type) && accept.allows_json();
        let serializer = if is_accepted_json { None } else { Some(self.accepted(content_type, accept)?) };
        let decompressed = match compression {
            Some(name) => Bytes::from(self.compression(name)?.decompress(body, self.0.decompressed_limit)?),
            None => body.clone(),
        };
        match serializer {
            Some(serializer) if !is_json(serializer.name()) => {
                Ok(serializer.decode(&decompressed)?.to_json_bytes().into())
            }
            _ => to_utf8(decompressed, content_encoding),
        }
    }

    /// Finds the serializer of a content type, and checks that it is in the accept list.
    fn accepted(&self, content_type: &str, accept: &Accept) -> Result<&dyn Serializer> {
        let serializer = self.serializer(content_type)?;
        if accept.allows(serializer.name()) || accept.allows(serializer.content_type()) {
            return Ok(serializer);
        }
        Err(Error::new(
            ErrorKind::NotAccepted,
            format!("accept the content type `{}`: accept_content is {accept}", mime_of(content_type)),
        ))
    }

    /// Compresses a result as Celery's `result_compression` does, with a prefix that names the compression.
    ///
    /// # Errors
    /// When the compression is unknown or fails.
    pub fn compress_result(&self, bytes: &[u8], compression: &str) -> Result<Vec<u8>> {
        let compression = self.compression(compression)?;
        let mut out = COMPRESSED_RESULT.to_vec();
        out.extend_from_slice(compression.mime().as_bytes());
        out.push(0);
        out.extend_from_slice(&compression.compress(bytes)?);
        Ok(out)
    }

    /// Decompresses a stored result if it begins with the prefix of [`compress_result`](Self::compress_result); returns
    /// other bytes as they are.
    ///
    /// # Errors
    /// When the compression is unknown, or the bytes are damaged or become larger than the limit.
    pub fn open_result(&self, bytes: &Bytes) -> Result<Bytes> {
        let Some(mime_and_content) = bytes.strip_prefix(COMPRESSED_RESULT) else { return Ok(bytes.clone()) };
        let broken = || Error::new(ErrorKind::Decompress, "find the compression of a stored result");
        let end = memchr::memchr(0, mime_and_content).ok_or_else(broken)?;
        let mime = std::str::from_utf8(&mime_and_content[..end]).map_err(|_| broken())?;
        Ok(self.compression(mime)?.decompress(&mime_and_content[end + 1..], self.0.decompressed_limit)?.into())
    }
}

fn json_body(bytes: Bytes) -> EncodedBody {
    EncodedBody {
        bytes,
        content_type: Cow::Borrowed(JSON),
        content_encoding: Cow::Borrowed("utf-8"),
        compression: None,
    }
}

fn is_json(name: &str) -> bool {
    name == JSON || name == "json" || mime_of(name).eq_ignore_ascii_case(JSON)
}

/// A content type without its parameters, such as `; charset=utf-8`.
fn mime_of(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// Converts text in this content encoding to UTF-8. No encoding, and `binary`, count as UTF-8; bytes in UTF-8 are not
/// validated here.
fn to_utf8(bytes: Bytes, encoding: Option<&str>) -> Result<Bytes> {
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
