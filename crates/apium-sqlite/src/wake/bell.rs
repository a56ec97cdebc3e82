//! Doorbells: a Unix datagram socket for each process that consumes or watches. Who commits something for others sends one
//! byte to each, and never waits: a full or dead doorbell is passed over, since polling finds what was missed.

use std::path::{Path, PathBuf};

use crate::store::Store;
use crate::store::Weight;
use crate::store::transaction::{Effects, Tx};
use crate::wake::Wake;

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
    pub(crate) fn ring(&mut self, effects: &Effects, wake: &Wake) -> Vec<PathBuf> {
        let messages = if effects.earlier || !effects.ready.is_empty() { MESSAGES } else { 0 };
        let results = if effects.results.is_empty() { 0 } else { RESULTS };
        match messages | results {
            0 => Vec::new(),
            byte => wake.other_bells().iter().filter(|path| !self.send(path, byte)).cloned().collect(),
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

/// This process's doorbell; its socket file goes with it.
#[derive(Debug)]
pub(crate) struct Doorbell {
    #[cfg(unix)]
    pub(crate) socket: std::os::unix::net::UnixDatagram,
    path: PathBuf,
}

impl Drop for Doorbell {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "a doorbell could not be removed");
        }
    }
}

impl Store {
    /// Makes this process's doorbell and makes it known. `None` where that is not possible: polling is left then.
    #[cfg(unix)]
    pub(crate) async fn hang_doorbell(&self) -> Option<Doorbell> {
        let folder = self.live_folder();
        let name = format!("{}-{:08x}.bell", std::process::id(), fastrand::u32(..));
        let path = folder.join(name);
        let bound = std::fs::create_dir_all(&folder)
            .and_then(|()| std::os::unix::net::UnixDatagram::bind(&path))
            .and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        let socket = match bound {
            Ok(socket) => socket,
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "no doorbell: this process polls for the commits of others");
                return None;
            }
        };
        let doorbell = Doorbell { socket, path };
        let text = doorbell.path.to_str()?.to_owned();
        self.wake.set_own_bell(&doorbell.path);
        let known = self
            .write("listen for commits", Weight::passing(1), move |tx: &mut Tx<'_>| {
                tx.change_listeners();
                tx.conn.prepare_cached("INSERT OR IGNORE INTO listener (path) VALUES (?1)")?.execute([&text])?;
                Ok(())
            })
            .await;
        known.ok().map(|()| doorbell)
    }

    /// Where there are no such sockets, polling is left.
    #[cfg(not(unix))]
    pub(crate) async fn hang_doorbell(&self) -> Option<Doorbell> {
        None
    }

    /// Forgets a doorbell that nobody hears.
    pub(crate) fn forget_doorbell(&self, path: PathBuf) {
        self.write_unasked("forget a doorbell", Weight::passing(1), move |tx: &mut Tx<'_>| {
            let gone = tx
                .conn
                .prepare_cached("DELETE FROM listener WHERE path = ?1")?
                .execute([path.to_str().unwrap_or_default()])?;
            if gone > 0 {
                tx.change_listeners();
                // A socket file without a socket; whoever made it is dead.
                let _ = std::fs::remove_file(&path);
            }
            Ok(())
        });
    }
}
