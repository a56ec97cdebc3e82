//! The tests and what they need, in the target directory: a Python environment, and the tests of Celery's source
//! distribution. They are fetched from PyPI when they are missing, or when `requirements.txt` has changed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use apium_peers::target;

/// The packages, with their versions.
const REQUIREMENTS: &str = include_str!("../requirements.txt");

/// The distribution that has the tests.
const CELERY: &str = "celery==5.7.0";

/// Where the tests are, and the Python that runs them.
#[derive(Debug, Clone)]
pub struct Suite {
    /// The interpreter.
    pub python: PathBuf,
    /// The folder with `t/integration`.
    pub sources: PathBuf,
}

impl Suite {
    /// Fetches what is missing.
    ///
    /// # Errors
    /// What could not be done, with what the programs for it printed.
    pub fn ensure() -> Result<Self, String> {
        let folder = target::directory()?.join("peers").join("celery-suite");
        fs::create_dir_all(&folder).map_err(|error| format!("create {}: {error}", folder.display()))?;
        let attempt = |error| format!("lock {}: {error}", folder.display());
        // Two runs at once would use each other's unfinished environment.
        let lock = File::create(folder.join("lock")).map_err(attempt)?;
        lock.lock().map_err(attempt)?;
        let venv = folder.join("venv");
        let suite = Self { python: target::python(&venv), sources: folder.join("sources") };
        let stamp = folder.join("requirements.txt");
        if !fs::read_to_string(&stamp).is_ok_and(|made| made == REQUIREMENTS) {
            suite.install(&folder, &venv)?;
            fs::write(&stamp, REQUIREMENTS).map_err(|error| format!("write {}: {error}", stamp.display()))?;
        }
        Ok(suite)
    }

    fn install(&self, folder: &Path, venv: &Path) -> Result<(), String> {
        let (list, downloads) = (format!("{}/requirements.txt", env!("CARGO_MANIFEST_DIR")), folder.join("downloads"));
        let (venv, downloads_text) = (text(venv), text(&downloads));
        let pip = |args: &[&str]| {
            let mut command = Command::new(&self.python);
            command.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]).args(args);
            done(command)
        };
        let mut create = Command::new("python3");
        create.args(["-m", "venv", "--clear", &venv]);
        done(create)?;
        pip(&["install", "--requirement", &list])?;
        pip(&["download", CELERY, "--no-binary", ":all:", "--no-deps", "--dest", &downloads_text])?;
        let archive = downloads.join(format!("{}.tar.gz", CELERY.replace("==", "-")));
        let mut unpack = Command::new(&self.python);
        unpack.arg(plugin().join("unpack.py")).args([&archive, &self.sources]);
        done(unpack)
    }
}

/// The folder of the Python programs of this crate.
pub(crate) fn plugin() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("plugin")
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Runs a command, which must succeed.
fn done(mut command: Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("start {command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("run {command:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}
