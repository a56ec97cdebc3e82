//! Rings doorbells. Each process that consumes or watches has a doorbell, a Unix datagram socket. Whoever commits
//! something for others sends one byte to each doorbell and never waits. When a doorbell is full or dead, nothing is
//! sent: polling finds what was missed.

use std::path::{Path, PathBuf};

use crate::store::transaction::Effects;

/// Bit of the byte: there are messages.
pub(crate) const MESSAGES: u8 = 1;
/// Bit of the byte: there are results.
pub(crate) const RESULTS: u8 = 2;

/// Bit of the byte: there are broadcasts.
pub(crate) const BROADCASTS: u8 = 4;

/// Rings the doorbells of other processes.
#[derive(Debug)]
pub(crate) struct Ringer {
    #[cfg(unix)]
    socket: Option<std::os::unix::net::UnixDatagram>,
}

impl Ringer {
    pub(crate) fn new() -> Self {
        Self {
            #[cfg(unix)]
            socket: std::os::unix::net::UnixDatagram::unbound()
                .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
                .ok(),
        }
    }

    /// Rings for what was committed. Returns the doorbells on which nobody listens any more.
    pub(crate) fn ring(&self, effects: &Effects, others: &[PathBuf]) -> Vec<PathBuf> {
        let messages = if effects.earlier_due || !effects.ready.is_empty() { MESSAGES } else { 0 };
        let results = if effects.results.is_empty() { 0 } else { RESULTS };
        let broadcasts = if effects.broadcasts.is_empty() { 0 } else { BROADCASTS };
        match messages | results | broadcasts {
            0 => Vec::new(),
            byte => others.iter().filter(|path| !self.send(path, byte)).cloned().collect(),
        }
    }

    /// Returns whether somebody listens there.
    #[cfg(unix)]
    fn send(&self, path: &Path, byte: u8) -> bool {
        use std::io::ErrorKind::{ConnectionRefused, NotFound};
        let Some(socket) = &self.socket else { return true };
        match socket.send_to(&[byte], path) {
            Ok(_) => true,
            Err(error) => !matches!(error.kind(), ConnectionRefused | NotFound),
        }
    }

    #[cfg(not(unix))]
    fn send(&self, _path: &Path, _byte: u8) -> bool {
        true
    }
}
