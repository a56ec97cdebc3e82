//! The doorbell of this process: opening it and registering it in the store. Also removes the doorbells of dead
//! processes.

use apium_protocol::error::with_causes;
use std::path::PathBuf;

use crate::store::request::RequestCost;
use crate::store::store::Store;
use crate::store::transaction::Tx;

/// The doorbell of this process. Dropping it removes the socket file.
#[derive(Debug)]
pub(crate) struct Doorbell {
    #[cfg(unix)]
    pub(crate) socket: std::os::unix::net::UnixDatagram,
    path: PathBuf,
}

impl Drop for Doorbell {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), error = %with_causes(&error), "could not remove a doorbell");
        }
    }
}

impl Store {
    /// Opens the doorbell of this process and registers it in the store. `None` where that fails: then this process
    /// only polls.
    #[cfg(unix)]
    pub(crate) async fn open_doorbell(&self) -> Option<Doorbell> {
        let folder = self.live_folder();
        let name = format!("{}-{:08x}.bell", std::process::id(), fastrand::u32(..));
        let path = folder.join(name);
        let bound = std::fs::create_dir_all(&folder)
            .and_then(|()| std::os::unix::net::UnixDatagram::bind(&path))
            .and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        let socket = match bound {
            Ok(socket) => socket,
            Err(error) => {
                let path = path.display();
                tracing::debug!(%path, error = %with_causes(&error), "no doorbell: this process polls for commits of others");
                return None;
            }
        };
        let doorbell = Doorbell { socket, path };
        let text = doorbell.path.to_str()?.to_owned();
        self.waker.set_own_doorbell(&doorbell.path);
        let registered = self
            .write("listen for commits", RequestCost::volatile(1), move |tx: &mut Tx<'_>| {
                tx.change_listeners();
                tx.conn.prepare_cached("INSERT OR IGNORE INTO listener (path) VALUES (?1)")?.execute([&text])?;
                Ok(())
            })
            .await;
        registered.ok().map(|()| doorbell)
    }

    /// There are no such sockets here: this process only polls.
    #[cfg(not(unix))]
    pub(crate) async fn open_doorbell(&self) -> Option<Doorbell> {
        None
    }

    /// Removes a doorbell on which nobody listens.
    pub(crate) fn remove_doorbell(&self, path: PathBuf) {
        self.write_detached("remove a doorbell", RequestCost::volatile(1), move |tx: &mut Tx<'_>| {
            let deleted = tx
                .conn
                .prepare_cached("DELETE FROM listener WHERE path = ?1")?
                .execute([path.to_str().unwrap_or_default()])?;
            if deleted > 0 {
                tx.change_listeners();
                // The socket file is left over from a dead process.
                let _ = std::fs::remove_file(&path);
            }
            Ok(())
        });
    }
}
