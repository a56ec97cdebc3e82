//! A fresh folder for the files of a measurement, on the disk that holds the program: the system's folder for temporary
//! files may be in memory, where a sync costs nothing.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// A folder that is deleted when dropped.
#[derive(Debug)]
pub struct ScratchFolder {
    folder: PathBuf,
}

impl ScratchFolder {
    /// Makes a folder beside the program.
    pub fn new() -> io::Result<Self> {
        let program = env::current_exe()?;
        let beside = program.parent().unwrap_or(Path::new("."));
        let folder = beside.join(format!("harness-{}", uuid::Uuid::new_v4().simple()));
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The address of a queue file in it.
    pub fn address(&self) -> String {
        format!("sqlite://{}", self.folder.join("queue.db").display())
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        // What cannot be deleted stays beside the program.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_exists_until_it_is_dropped() {
        let scratch = ScratchFolder::new().unwrap();
        let folder = scratch.folder().to_owned();
        assert!(folder.is_dir());
        assert!(scratch.address().starts_with("sqlite:///"), "{}", scratch.address());
        drop(scratch);
        assert!(!folder.exists());
    }
}
