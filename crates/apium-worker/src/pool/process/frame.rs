//! Frames: what a worker and its children send each other. The page `docs/CHILD-PROTOCOL.md` has them all.

use std::io;

use apium_protocol::json::text::Json;
use bytes::{Buf as _, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The version of the protocol.
pub(crate) const VERSION: u32 = 1;

/// The most bytes of a frame.
const LONGEST: usize = 1 << 30;

/// The bytes of the two lengths and of the kind.
const FIXED: usize = 4 + 1 + 4;

/// The kind of a frame. The numbers are those on the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// The first frame to a child: how it is to serve.
    Start = 1,
    /// The first frame of a child: it runs.
    Hello = 2,
    /// Its app is built, and it takes runs.
    Ready = 3,
    /// Its app cannot be built.
    Failed = 4,
    /// A run.
    Run = 5,
    /// The child has that run, and begins it.
    Began = 6,
    /// The run is over.
    RunEnded = 7,
    /// The run is to end at an await point.
    Cancel = 9,
    /// No run comes any more.
    Stop = 10,
    /// A result to store, in the middle of a run.
    Store = 11,
    /// It is stored, or is not.
    Stored = 12,
    /// The program of a child that is none: before all others.
    Program = 13,
}

impl FrameKind {
    const ALL: [Self; 12] = [
        Self::Start,
        Self::Hello,
        Self::Ready,
        Self::Failed,
        Self::Run,
        Self::Began,
        Self::RunEnded,
        Self::Cancel,
        Self::Stop,
        Self::Store,
        Self::Stored,
        Self::Program,
    ];

    fn of(code: u8) -> io::Result<Self> {
        let known = Self::ALL.into_iter().find(|kind| *kind as u8 == code);
        known.ok_or_else(|| invalid(format!("a frame of the unknown kind {code}")))
    }
}

/// What came over the channel.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: FrameKind,
    head: Bytes,
    pub(crate) body: Bytes,
}

impl Frame {
    /// Reads the head.
    pub(crate) fn head<T: DeserializeOwned>(&self) -> io::Result<T> {
        let head = Json::from_bytes(self.head.clone()).and_then(|json| json.decode());
        head.map_err(|error| invalid(format!("the head of a frame {:?}: {error:#}", self.kind)))
    }
}

/// A frame as it travels.
///
/// # Errors
/// A head that has no JSON form, or a frame that is too long.
pub(crate) fn encode(kind: FrameKind, head: &impl Serialize, body: &[u8]) -> io::Result<Vec<u8>> {
    let head = Json::from_serialize(head).map_err(|error| invalid(format!("{error:#}")))?;
    let head = head.as_bytes();
    let length = 1 + 4 + head.len() + body.len();
    if length > LONGEST {
        return Err(invalid(format!("a frame of {length} bytes, and {LONGEST} is the most")));
    }
    let mut out = Vec::with_capacity(4 + length);
    // Both fit, as they are below the limit.
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    out.push(kind as u8);
    out.extend_from_slice(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(head);
    out.extend_from_slice(body);
    Ok(out)
}

fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

/// Reads frames from one end of a channel.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self { stream, buffer: BytesMut::with_capacity(16 << 10) }
    }

    /// The next frame; `None` where the channel ends between two frames. Cancel-safe.
    ///
    /// # Errors
    /// The channel fails, ends inside a frame, or has something else in it.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    /// Takes the first frame out of what was read, if it is there as a whole.
    fn take(&mut self) -> io::Result<Option<Frame>> {
        let Some(length) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if !(FIXED - 4..=LONGEST).contains(&length) {
            return Err(invalid(format!("a frame of {length} bytes")));
        }
        if self.buffer.len() < 4 + length {
            self.buffer.reserve(4 + length - self.buffer.len());
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(4 + length).freeze();
        frame.advance(4);
        let kind = FrameKind::of(frame.get_u8())?;
        let head = frame.get_u32() as usize;
        if head > frame.len() {
            return Err(invalid(format!("a frame {kind:?} whose head is longer than the frame")));
        }
        let head = frame.split_to(head);
        Ok(Some(Frame { kind, head, body: frame }))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Head {
        run: u64,
        text: String,
    }

    fn reader(bytes: &[u8]) -> FrameReader<&[u8]> {
        FrameReader::new(bytes)
    }

    #[tokio::test]
    async fn frames_are_read_as_they_were_written() {
        let head = Head { run: 7, text: "é\u{0}\"".to_owned() };
        let mut bytes = encode(FrameKind::Run, &head, b"[[], {}, {}]").unwrap();
        bytes.extend(encode(FrameKind::RunEnded, &head, b"").unwrap());
        let mut reader = reader(&bytes);
        let run = reader.next().await.unwrap().unwrap();
        assert_eq!((run.kind, run.head::<Head>().unwrap(), &*run.body), (FrameKind::Run, head, &b"[[], {}, {}]"[..]));
        assert_eq!(reader.next().await.unwrap().unwrap().kind, FrameKind::RunEnded);
        assert!(reader.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_is_no_frame_is_an_error() {
        let good = encode(FrameKind::Stop, &Head { run: 1, text: String::new() }, b"").unwrap();
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        for (bytes, text) in [
            (good[..good.len() - 1].to_vec(), "unexpected end"),
            (b"Traceback (most recent call last):".to_vec(), "a frame of"),
            (with(4, 99), "unknown kind 99"),
            (with(7, 200), "longer than the frame"),
        ] {
            let error = reader(&bytes).next().await.unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        let frame = reader(&with(9, b'[')).next().await.unwrap().unwrap();
        assert!(frame.head::<Head>().unwrap_err().to_string().contains("the head of a frame Stop"));
    }

    #[test]
    fn each_kind_is_known_by_its_number() {
        for kind in FrameKind::ALL {
            assert_eq!(FrameKind::of(kind as u8).unwrap(), kind);
        }
    }
}
