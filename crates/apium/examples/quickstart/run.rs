//! The state of a run. It is stored beside the queue, so that a stopped run can be resumed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use apium::prelude::BoxError;
use serde::{Deserialize, Serialize};

/// A run, as stored in `run.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Its name, and the name of the folder of its queue and results.
    pub(crate) id: String,
    /// The folder that is indexed.
    pub(crate) folder: PathBuf,
    /// Its phase.
    pub(crate) phase: Phase,
    /// The files, relative to the folder.
    pub(crate) files: Vec<PathBuf>,
    /// The id of the task that adds them up, the body of a chord: its result is saved with those of the files.
    pub(crate) totals_id: String,
    /// The single tasks: the label and the id of each.
    pub(crate) singles: Vec<(String, String)>,
}

/// The phase of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Its tasks are being sent, and some may be missing.
    Sending,
    /// All tasks are sent.
    Running,
    /// Every task has ended.
    Finished,
}

/// The data folder, locked by this process.
pub(crate) struct Data {
    folder: PathBuf,
    _lock: File,
}

impl Data {
    /// Locks the folder. It is made when it does not exist.
    pub(crate) fn open(folder: &Path) -> Result<Self, BoxError> {
        let failed = |error: io::Error| format!("could not use the data folder {}: {error}", folder.display());
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = File::create(folder.join("lock")).map_err(failed)?;
        lock.try_lock()
            .map_err(|_| format!("another quickstart runs in {}; name another folder with --data", folder.display()))?;
        Ok(Self { folder: folder.canonicalize().map_err(failed)?, _lock: lock })
    }

    /// The last run, if there was one that can be read.
    pub(crate) fn last_run(&self) -> Option<Run> {
        serde_json::from_slice(&fs::read(self.folder.join("run.json")).ok()?).ok()
    }

    /// Stores the state of a run, completely or not at all.
    pub(crate) fn save(&self, run: &Run) -> Result<(), BoxError> {
        let written = self.folder.join("run.json.new");
        let mut file = File::create(&written)?;
        file.write_all(&serde_json::to_vec_pretty(run)?)?;
        file.sync_all()?;
        fs::rename(written, self.folder.join("run.json"))?;
        Ok(())
    }

    /// Makes a new run with an empty queue, and deletes the files of earlier runs.
    pub(crate) fn fresh_run(&self, id: String, folder: &Path, files: Vec<PathBuf>) -> Result<Run, BoxError> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() && entry.file_name().to_string_lossy().starts_with("run-") {
                fs::remove_dir_all(entry.path())?;
            }
        }
        let run = Run {
            id,
            folder: folder.to_path_buf(),
            phase: Phase::Sending,
            files,
            totals_id: String::new(),
            singles: Vec::new(),
        };
        fs::create_dir_all(self.run_folder(&run))?;
        self.save(&run)?;
        Ok(run)
    }

    /// The address of the queue and the results of a run.
    pub(crate) fn address(&self, run: &Run) -> String {
        format!("sqlite://{}", self.run_folder(run).join("queue.db").display())
    }

    fn run_folder(&self, run: &Run) -> PathBuf {
        self.folder.join(format!("run-{}", run.id))
    }
}
