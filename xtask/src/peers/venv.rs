//! The Python environment with Celery, in the target directory. It is made when it is missing or when
//! `tests/interop/requirements.txt` has changed.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use apium_peers::python::PROGRAM;
use apium_peers::target;

use crate::peers::debian;
use crate::process;

/// The list of packages, with exact versions.
const REQUIREMENTS: &str = "tests/interop/requirements.txt";

/// Makes sure that the environment exists, and returns where it is.
pub(crate) fn ensure() -> Result<String, String> {
    if let Some(named) = std::env::var_os(PROGRAM).filter(|name| !name.is_empty()) {
        return Ok(format!("Python is {}, as {PROGRAM} says", named.display()));
    }
    let venv = target::venv()?;
    let requirements = process::root()?.join(REQUIREMENTS);
    let wanted = fs::read_to_string(&requirements).map_err(|e| format!("read {REQUIREMENTS}: {e}"))?;
    let folder = venv.parent().unwrap_or(&venv);
    fs::create_dir_all(folder).map_err(|e| format!("create {}: {e}", folder.display()))?;
    // Two runs at once would use each other's unfinished environment.
    let lock =
        File::create(folder.join("venv.lock")).map_err(|e| format!("create a file in {}: {e}", folder.display()))?;
    lock.lock().map_err(|e| format!("lock {}: {e}", folder.display()))?;
    if !is_made(&venv, &wanted) {
        make(&venv, &requirements, &wanted)?;
    }
    Ok(format!("Python with Celery in {}", venv.display()))
}

/// The file that is written last: the requirements for which the environment was made.
fn stamp(venv: &Path) -> std::path::PathBuf {
    venv.join("apium-requirements.txt")
}

fn is_made(venv: &Path, wanted: &str) -> bool {
    target::python(venv).is_file() && fs::read_to_string(stamp(venv)).is_ok_and(|made| made == wanted)
}

fn make(venv: &Path, requirements: &Path, wanted: &str) -> Result<(), String> {
    if !can_make_environments() {
        let advice = "install Python 3 with the modules venv and ensurepip, or name in APIUM_PYTHON a Python that can import \
                      the packages of tests/interop/requirements.txt";
        debian::install(&["python3", "python3-venv"], advice)?;
    }
    match fs::remove_dir_all(venv) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(format!("remove {}: {error}", venv.display()));
        }
        _ => {}
    }
    let mut create = Command::new("python3");
    create.args(["-m", "venv"]).arg(venv);
    let mut install = Command::new(target::python(venv));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--requirement"]);
    install.arg(requirements);
    if process::passes(create)? && process::passes(install)? {
        return fs::write(stamp(venv), wanted).map_err(|e| format!("write into {}: {e}", venv.display()));
    }
    Err(format!("make a Python environment in {} with the packages of {REQUIREMENTS}", venv.display()))
}

/// Whether Python has the modules that make an environment. Debian installs it without them.
fn can_make_environments() -> bool {
    let mut command = Command::new("python3");
    command.args(["-c", "import ensurepip, venv"]).stdin(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_made_for_its_requirements_only() {
        let venv = target::directory().unwrap().join(format!("peers/venv-test-{}", std::process::id()));
        assert!(!is_made(&venv, "celery==1\n"));
        fs::create_dir_all(venv.join("bin")).unwrap();
        fs::write(target::python(&venv), "").unwrap();
        assert!(!is_made(&venv, "celery==1\n"), "it was not finished");
        fs::write(stamp(&venv), "celery==1\n").unwrap();
        assert!(is_made(&venv, "celery==1\n"));
        assert!(!is_made(&venv, "celery==2\n"));
        fs::remove_dir_all(&venv).unwrap();
    }
}
