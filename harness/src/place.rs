//! A fresh folder for a measurement's files, on the disk that holds the program: a folder for temporary files may lie in
//! memory, where a sync costs nothing.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// A folder that is deleted when dropped.
#[derive(Debug)]
pub struct Place {
    folder: PathBuf,
}

impl Place {
    /// A new folder beside the program.
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

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be deleted now is found beside the program later.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_there_until_it_is_dropped() {
        let place = Place::new().unwrap();
        let folder = place.folder().to_owned();
        assert!(folder.is_dir());
        assert!(place.address().starts_with("sqlite:///"), "{}", place.address());
        drop(place);
        assert!(!folder.exists());
    }
}
