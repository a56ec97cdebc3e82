//! The text files of the repository: Rust sources, manifests, scripts and documents.

use std::fs;
use std::path::Path;

/// A file, with its path from the root written with `/`.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// `crates/apium-app/src/call.rs`.
    pub(crate) path: String,
    /// Its contents.
    pub(crate) text: String,
}

impl File {
    /// The last part of the path.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// Whether the path ends with `.ext`.
    pub(crate) fn has_ending(&self, ext: &str) -> bool {
        self.path.strip_suffix(ext).is_some_and(|stem| stem.ends_with('.'))
    }
}

/// Every text file below `root`, sorted by path. Left out are build output (a folder with `CACHEDIR.TAG`), hidden
/// folders except `.ci` and `.cargo`, test vectors, and the lock file.
pub(crate) fn all(root: &Path) -> Result<Vec<File>, String> {
    let mut files = Vec::new();
    walk(root, "", &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn walk(dir: &Path, prefix: &str, files: &mut Vec<File>) -> Result<(), String> {
    let attempt = |e: std::io::Error| format!("list {}: {e}", dir.display());
    if dir.join("CACHEDIR.TAG").exists() {
        return Ok(());
    }
    for entry in fs::read_dir(dir).map_err(attempt)? {
        let entry = entry.map_err(attempt)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if entry.file_type().map_err(attempt)?.is_dir() {
            let hidden = name.starts_with('.') && !matches!(name.as_str(), ".ci" | ".cargo");
            if !hidden && path != "tests/vectors" && path != "target" {
                walk(&entry.path(), &format!("{path}/"), files)?;
            }
        } else if is_text(&path) {
            let text = fs::read_to_string(entry.path()).map_err(|e| format!("read {path}: {e}"))?;
            files.push(File { path, text });
        }
    }
    Ok(())
}

fn is_text(path: &str) -> bool {
    let endings = [".rs", ".md", ".toml", ".sql", ".py", ".sh", ".ci/run"];
    endings.iter().any(|ending| path.ends_with(ending))
}
