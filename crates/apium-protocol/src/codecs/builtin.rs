//! The built-in serializers and compressions.

use std::sync::Arc;

use crate::codecs::serializer::{Compression, Serializer};
use crate::error::Result;
use crate::value::value::Value;

/// The serializers that this build has, by its features.
pub(crate) fn serializers() -> Vec<Arc<dyn Serializer>> {
    vec![
        Arc::new(JsonSerializer),
        #[cfg(feature = "msgpack")]
        Arc::new(crate::codecs::msgpack::Msgpack),
        #[cfg(feature = "yaml")]
        Arc::new(crate::codecs::yaml::yaml::Yaml),
    ]
}

/// The serializer `json`, for callers that ask for it by name. The bodies of messages do not pass through it: `Codecs`
/// reads and writes JSON without a tree of values.
struct JsonSerializer;

impl Serializer for JsonSerializer {
    fn name(&self) -> &str {
        "json"
    }

    fn content_type(&self) -> &str {
        crate::codecs::codecs::JSON
    }

    fn content_encoding(&self) -> &str {
        "utf-8"
    }

    fn encode(&self, value: &Value) -> Result<Vec<u8>> {
        Ok(value.to_json_bytes())
    }

    fn decode(&self, bytes: &[u8]) -> Result<Value> {
        Value::parse(crate::json::reader::utf8(bytes)?)
    }
}

#[cfg(not(feature = "compression"))]
pub(crate) fn compressions() -> Vec<Arc<dyn Compression>> {
    Vec::new()
}

#[cfg(feature = "compression")]
pub(crate) use compressed::compressions;

#[cfg(feature = "compression")]
mod compressed {
    use std::io::{self, Read, Write};

    use super::{Arc, Compression, Result};
    use crate::error::{Error, ErrorKind};

    /// The compressions, by their names in kombu.
    pub(crate) fn compressions() -> Vec<Arc<dyn Compression>> {
        let all: [Builtin; 5] = [
            Builtin { names: &["gzip", "zlib"], mime: "application/x-gzip", compress: gzip, decompress: gunzip },
            Builtin { names: &["bzip2", "bzip"], mime: "application/x-bz2", compress: bzip2, decompress: bunzip2 },
            Builtin { names: &["lzma", "xz"], mime: "application/x-lzma", compress: lzma, decompress: unlzma },
            Builtin { names: &["brotli"], mime: "application/x-brotli", compress: brotli, decompress: unbrotli },
            Builtin { names: &["zstd", "zstandard"], mime: "application/zstd", compress: zstd, decompress: unzstd },
        ];
        all.into_iter().map(|one| Arc::new(one) as Arc<dyn Compression>).collect()
    }

    /// One of kombu's compressions.
    struct Builtin {
        names: &'static [&'static str],
        mime: &'static str,
        compress: fn(&[u8]) -> io::Result<Vec<u8>>,
        decompress: fn(&[u8], &mut Bounded) -> io::Result<()>,
    }

    impl Compression for Builtin {
        fn names(&self) -> &[&str] {
            self.names
        }

        fn mime(&self) -> &str {
            self.mime
        }

        fn compress(&self, bytes: &[u8]) -> Result<Vec<u8>> {
            (self.compress)(bytes).map_err(|e| {
                Error::new(ErrorKind::Encode, format!("compress the body with {}", self.names[0])).with_source(e)
            })
        }

        fn decompress(&self, bytes: &[u8], limit: usize) -> Result<Vec<u8>> {
            let mut out = Bounded { bytes: Vec::new(), limit };
            (self.decompress)(bytes, &mut out).map_err(|e| {
                Error::new(ErrorKind::Decompress, format!("decompress the body with {}", self.names[0])).with_source(e)
            })?;
            Ok(out.bytes)
        }
    }

    /// How much of what was written a decompressor may keep, in bytes: as much as `xz -9` wants. The first bytes of a
    /// body say how much it takes, and it is taken at once.
    const MEMORY: u64 = 64 << 20;

    /// Collects bytes up to a limit, so that a small message cannot fill the memory.
    struct Bounded {
        bytes: Vec<u8>,
        limit: usize,
    }

    impl Write for Bounded {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if bytes.len() > self.limit - self.bytes.len() {
                return Err(io::Error::other(format!("it becomes more than {} bytes, which is the limit", self.limit)));
            }
            self.bytes.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn copy(mut reader: impl Read, out: &mut Bounded) -> io::Result<()> {
        io::copy(&mut reader, out).map(|_| ())
    }

    /// zlib's format, as Python's `zlib.compress` writes it.
    fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes)?;
        encoder.finish()
    }

    /// Reads zlib's format, and gzip's, which other producers write under the same name.
    fn gunzip(bytes: &[u8], out: &mut Bounded) -> io::Result<()> {
        if bytes.starts_with(b"\x1f\x8b") {
            copy(flate2::read::MultiGzDecoder::new(bytes), out)
        } else {
            copy(flate2::read::ZlibDecoder::new(bytes), out)
        }
    }

    fn bzip2(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        encoder.write_all(bytes)?;
        encoder.finish()
    }

    fn bunzip2(bytes: &[u8], out: &mut Bounded) -> io::Result<()> {
        copy(bzip2::read::MultiBzDecoder::new(bytes), out)
    }

    fn lzma(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
        encoder.write_all(bytes)?;
        encoder.finish()
    }

    fn unlzma(bytes: &[u8], out: &mut Bounded) -> io::Result<()> {
        let stream = liblzma::stream::Stream::new_auto_decoder(MEMORY + MEMORY / 16, liblzma::stream::CONCATENATED)?;
        copy(liblzma::read::XzDecoder::new_stream(bytes, stream), out)
    }

    fn brotli(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut input = bytes;
        brotli::BrotliCompress(
            &mut input,
            &mut out,
            &brotli::enc::BrotliEncoderParams { quality: 5, ..Default::default() },
        )?;
        Ok(out)
    }

    fn unbrotli(bytes: &[u8], out: &mut Bounded) -> io::Result<()> {
        copy(brotli::Decompressor::new(bytes, 4096), out)
    }

    fn zstd(bytes: &[u8]) -> io::Result<Vec<u8>> {
        zstd::bulk::compress(bytes, zstd::DEFAULT_COMPRESSION_LEVEL)
    }

    fn unzstd(bytes: &[u8], out: &mut Bounded) -> io::Result<()> {
        let mut decoder = zstd::Decoder::with_buffer(bytes)?;
        decoder.window_log_max(MEMORY.ilog2())?;
        copy(decoder, out)
    }
}
