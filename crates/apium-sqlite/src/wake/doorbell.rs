//! This process's own doorbell: hanging it, making it known to others, and forgetting those of the dead.

use std::path::PathBuf;

use crate::store::request::Weight;
use crate::store::store::Store;
use crate::store::transaction::Tx;

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
