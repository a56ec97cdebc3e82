//! Doorbells: a Unix datagram socket for each process that consumes or watches. Who commits something for others sends one
//! byte to each, and never waits: a full or dead doorbell is passed over, since polling finds what was missed.

use std::path::{Path, PathBuf};

use crate::store::transaction::Effects;

/// In the byte: there are messages.
pub(crate) const MESSAGES: u8 = 1;
/// In the byte: there are results.
pub(crate) const RESULTS: u8 = 2;

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

    /// Rings for what was committed; returns the doorbells that nobody hears any more.
    pub(crate) fn ring(&self, effects: &Effects, others: &[PathBuf]) -> Vec<PathBuf> {
        let messages = if effects.earlier || !effects.ready.is_empty() { MESSAGES } else { 0 };
        let results = if effects.results.is_empty() { 0 } else { RESULTS };
        match messages | results {
            0 => Vec::new(),
            byte => others.iter().filter(|path| !self.send(path, byte)).cloned().collect(),
        }
    }

    /// Says whether somebody is there.
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
