//! The studio: where the files of albums are. It is the state of the app, which tasks take as `State<Studio>`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The service's own settings: the table `[app]` of `apium.toml`, or variables such as `APIUM_APP__FOLDER`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Options {
    /// Where albums are made. All workers share it.
    pub(crate) folder: PathBuf,
    /// The file of the [journal](crate::journal), if there is one.
    pub(crate) journal: Option<PathBuf>,
    /// The file of its gate.
    pub(crate) gate: Option<PathBuf>,
}

/// Where the files of albums are. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Studio {
    folder: PathBuf,
}

impl Studio {
    /// A studio in this folder.
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
        Ok(Self { folder: std::path::absolute(folder)? })
    }

    /// Writes a file of an album. Returns where it is.
    pub(crate) fn write(&self, album: &str, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
        // No title leads out of the folder.
        let folder: String = album.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
        let folder = self.folder.join(folder);
        fs::create_dir_all(&folder)?;
        self.write_beside(&folder.join(name), name, bytes)
    }

    /// Writes a file beside another one, completely or not at all.
    pub(crate) fn write_beside(&self, other: &Path, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
        let file = other.with_file_name(name);
        let part = other.with_file_name(format!(".{name}.{}", std::process::id()));
        fs::write(&part, bytes)?;
        fs::rename(part, &file)?;
        Ok(file)
    }
}
