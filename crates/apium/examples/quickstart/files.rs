//! Finds the files to index.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Folders of generated files.
const SKIPPED: [&str; 3] = ["target", "node_modules", "__pycache__"];
/// Larger files are left out.
const LARGEST: u64 = 32 << 20;

/// The files to index, relative to `folder`, in order: every text file, or only Markdown and Rust.
pub(crate) fn find(folder: &Path, every_text: bool) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next)? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') {
                continue;
            }
            if kind.is_dir() && !SKIPPED.contains(&&*name) {
                folders.push(path);
            } else if kind.is_file() && is_wanted(&path, every_text) {
                found.push(path.strip_prefix(folder).unwrap_or(&path).to_path_buf());
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_wanted(path: &Path, every_text: bool) -> bool {
    if every_text {
        return looks_like_text(path).unwrap_or(false);
    }
    path.extension().is_some_and(|extension| extension == "md" || extension == "rs")
}

/// Whether the start of the file is UTF-8 without a zero byte.
fn looks_like_text(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    if file.metadata()?.len() > LARGEST {
        return Ok(false);
    }
    let mut start = Vec::new();
    file.take(4096).read_to_end(&mut start)?;
    let is_utf8 = match std::str::from_utf8(&start) {
        Ok(_) => true,
        // The last character may be cut.
        Err(error) => error.error_len().is_none(),
    };
    Ok(is_utf8 && !start.contains(&0))
}
