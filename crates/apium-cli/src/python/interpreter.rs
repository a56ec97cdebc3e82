//! Which Python runs the children.

use std::path::{Path, PathBuf};

/// The folders of a virtual environment that are looked for in the current folder.
const ENVIRONMENTS: [&str; 2] = [".venv", "venv"];

/// The interpreter that was named, else that of the virtual environment which is active or lies in the current folder,
/// else `python3`.
pub(crate) fn find(named: Option<&Path>) -> PathBuf {
    if let Some(named) = named {
        return named.to_owned();
    }
    let active = std::env::var_os("VIRTUAL_ENV").map(PathBuf::from);
    let environments = active.into_iter().chain(ENVIRONMENTS.map(PathBuf::from));
    let interpreters = environments.map(|folder| folder.join("bin").join("python"));
    // As it is, and not as a link shows: an interpreter finds its environment by the path it is called by.
    let found = interpreters.filter(|path| path.is_file()).find_map(|path| std::path::absolute(path).ok());
    found.unwrap_or_else(|| "python3".into())
}
