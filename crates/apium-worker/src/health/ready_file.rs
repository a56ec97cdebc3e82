//! `worker_ready_file`: a file that exists while the worker is healthy, for probes that can only look at a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apium_app::error::{Error, ErrorKind, Result};
use apium_protocol::error::with_causes;
use apium_transport::clock::Clock;

use crate::health::health::WorkerHealth;
use crate::service::Stopping;

/// How often the health of broker and backends is read. Whether the worker fetches is noticed at once.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The ready file. Dropping this removes it.
pub(crate) struct ReadyFile {
    path: PathBuf,
    /// Whether the last attempt failed: a failure is logged once.
    failed: bool,
}

impl ReadyFile {
    /// Removes the file that a killed worker may have left at `path`.
    ///
    /// # Errors
    /// A folder that does not exist, or a file that cannot be removed.
    pub(crate) fn new(path: PathBuf) -> Result<Self> {
        let shown = path.display().to_string();
        let refused = |why| Error::new(ErrorKind::Config, format!("use the ready file {shown}: {why}"));
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            return Err(refused("its folder does not exist; make it, or name another file"));
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(refused("the file that is there cannot be removed").with_source(error))
            }
            _ => Ok(Self { path, failed: false }),
        }
    }

    /// Writes and removes the file as the health changes, until the service is stopped.
    pub(crate) async fn follow(mut self, health: Arc<WorkerHealth>, clock: Clock, mut stopping: Stopping) {
        let mut changes = health.changes();
        loop {
            self.set(health.health().is_green());
            tokio::select! {
                () = stopping.wait() => return,
                _ = changes.changed() => {}
                () = clock.sleep(CHECK_INTERVAL) => {}
            }
        }
    }

    /// Writes the file, or removes it. It looks at the file first, since another program may have removed it.
    fn set(&mut self, ready: bool) {
        if ready == self.path.exists() {
            return;
        }
        let result = match ready {
            true => std::fs::write(&self.path, format!("{}\n", std::process::id())),
            false => std::fs::remove_file(&self.path),
        };
        if let Err(error) = &result
            && !self.failed
        {
            let file = self.path.display();
            tracing::error!(error = %with_causes(&error), %file, ready, "could not {} the ready file {file}", if ready { "write" } else { "remove" });
        }
        self.failed = result.is_err();
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        self.set(false);
    }
}
