//! Where a fault test runs, on SQLite, Redis or RabbitMQ: the app there, and what is stored in the end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use apium::prelude::*;

/// `worker_lease` of most tests: how long a silent worker's tasks stay reserved for it.
pub const LEASE: Duration = Duration::from_secs(1);

/// Where a fault test runs.
#[derive(Debug, Clone)]
pub struct Site {
    /// The log of runs and the ready files of workers are here.
    pub folder: PathBuf,
    /// The address of the broker.
    pub address: String,
    /// The address of the result backend: that of the broker unless it stores none.
    pub backend: String,
    /// `worker_lease`.
    pub lease: Duration,
}

impl Site {
    /// On the server at an address.
    pub fn new(folder: &Path, address: impl Into<String>) -> Self {
        let address = address.into();
        Self { folder: folder.to_owned(), backend: address.clone(), address, lease: LEASE }
    }

    /// The same with another lease.
    #[must_use]
    pub fn with_lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// The same with its results in another store.
    #[must_use]
    pub fn with_backend(self, backend: impl Into<String>) -> Self {
        Self { backend: backend.into(), ..self }
    }

    /// On a database in the folder.
    pub fn sqlite(folder: &Path) -> Self {
        Self::new(folder, format!("sqlite://{}", file(folder).display()))
    }

    /// An app there.
    pub fn app(&self) -> AppBuilder {
        let app = App::builder("torture").broker(&*self.address).backend(&*self.backend);
        app.setting("worker_lease", self.lease).setting("worker_max_crashes", 0)
    }
}

/// The database in a folder.
pub fn file(folder: &Path) -> PathBuf {
    folder.join("queue.db")
}

/// How many messages are in the queues or in the dead set.
pub async fn leftover(app: &App) -> Result<u64, BoxError> {
    let broker = app.broker();
    let stats = broker
        .queues()
        .and_then(|queues| queues.counts())
        .ok_or("count the queues: this broker cannot")?
        .stats()
        .await?;
    let dead = broker.dead().ok_or("count the dead set: this broker has none")?.count().await?;
    Ok(dead + stats.iter().map(|queue| queue.ready + queue.unacked + queue.delayed).sum::<u64>())
}

/// Whether SQLite finds no damage in the file.
pub fn is_intact(file: &Path) -> Result<bool, BoxError> {
    let connection = rusqlite::Connection::open(file)?;
    let found: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    Ok(found == "ok")
}

/// Asks again and again until `holds` is true, for `patience` at most; whether it became true.
pub async fn wait_until(
    patience: Duration,
    mut holds: impl AsyncFnMut() -> Result<bool, BoxError>,
) -> Result<bool, BoxError> {
    let deadline = tokio::time::Instant::now() + patience;
    while !holds().await? {
        if tokio::time::Instant::now() >= deadline {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::ScratchFolder;

    #[test]
    fn a_damaged_file_is_found() {
        let scratch = ScratchFolder::new().unwrap();
        let file = scratch.folder().join("queue.db");
        rusqlite::Connection::open(&file).unwrap().execute_batch("CREATE TABLE a(b); INSERT INTO a VALUES(1)").unwrap();
        assert!(is_intact(&file).unwrap());
        let mut bytes = std::fs::read(&file).unwrap();
        let page = bytes.len() / 2;
        bytes[page..].fill(0xff);
        std::fs::write(&file, bytes).unwrap();
        assert!(!is_intact(&file).unwrap_or(false));
    }
}
