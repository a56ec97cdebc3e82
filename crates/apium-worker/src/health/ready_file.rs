//! `worker_ready_file`: a file that is there while the worker is connected and fetches, for probes that can look at a file and at
//! nothing else.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apium_app::error::{Error, ErrorKind, Result};
use apium_transport::clock::Clock;

use crate::health::health::WorkerHealth;
use crate::service::Stopping;

/// How often the health is looked at; what the worker itself knows is seen at once.
const LOOK: Duration = Duration::from_secs(1);

/// The file, which goes with this.
pub(crate) struct ReadyFile {
    path: PathBuf,
    /// What went wrong last, told once.
    failed: bool,
}

impl ReadyFile {
    /// Takes the path, and removes what a worker that was killed has left there.
    ///
    /// # Errors
    /// A path that cannot be written to.
    pub(crate) fn new(path: PathBuf) -> Result<Self> {
        let shown = path.display().to_string();
        let wrong = |why| Error::new(ErrorKind::Config, format!("use the ready file {shown}: {why}"));
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            return Err(wrong("its folder does not exist; make it, or name another file"));
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(wrong("what is there cannot be removed").with_source(error))
            }
            _ => Ok(Self { path, failed: false }),
        }
    }

    /// Keeps the file as the health is, until the worker stops.
    pub(crate) async fn keep(mut self, health: Arc<WorkerHealth>, clock: Clock, mut stopping: Stopping) {
        let mut changes = health.changes();
        loop {
            self.set(health.health().is_green());
            tokio::select! {
                () = stopping.wait() => return,
                _ = changes.changed() => {}
                () = clock.sleep(LOOK) => {}
            }
        }
    }

    /// Makes the file be there, or not. Somebody else may have removed it.
    fn set(&mut self, ready: bool) {
        if ready == self.path.exists() {
            return;
        }
        let done = match ready {
            true => std::fs::write(&self.path, format!("{}\n", std::process::id())),
            false => std::fs::remove_file(&self.path),
        };
        if let Err(error) = &done
            && !self.failed
        {
            let file = self.path.display();
            tracing::error!(%error, %file, ready, "could not keep the ready file {file}");
        }
        self.failed = done.is_err();
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        self.set(false);
    }
}
