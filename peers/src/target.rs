//! The target directory of cargo, and what `cargo xtask peers` installs there.

use std::path::{Path, PathBuf};

/// The target directory of the running program: the nearest folder above it with cargo's mark. So it is found wherever
/// `CARGO_TARGET_DIR` or a configuration file has moved it.
pub fn directory() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| format!("find the running program: {error}"))?;
    above(&program).map(Path::to_owned).ok_or_else(|| {
        format!(
            "find the target directory: no folder above {} holds .rustc_info.json or CACHEDIR.TAG",
            program.display()
        )
    })
}

fn above(program: &Path) -> Option<&Path> {
    // The first file is in the target directory only, the second also in its folders for other platforms.
    let marked = |mark: &str| program.ancestors().skip(1).find(|folder| folder.join(mark).is_file());
    marked(".rustc_info.json").or_else(|| marked("CACHEDIR.TAG"))
}

/// The Python environment with Celery.
pub fn venv() -> Result<PathBuf, String> {
    Ok(directory()?.join("peers").join("venv"))
}

/// Its interpreter.
pub fn python(venv: &Path) -> PathBuf {
    venv.join("bin").join("python")
}

/// The program of an example of the package `apium`. `cargo test` builds the examples beside the tests.
#[track_caller]
pub fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap_or_else(|error| panic!("could not find the running program: {error}"));
    let folder = tests.parent().and_then(Path::parent).unwrap_or(Path::new("")).join("examples");
    let path = folder.join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.is_file(), "{} is missing; `cargo build -p apium --examples` builds it", path.display());
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_above_the_tests() {
        let directory = directory().unwrap();
        assert!(std::env::current_exe().unwrap().starts_with(&directory));
        assert!(directory.join("debug").is_dir() || directory.join("release").is_dir());
    }
}
