//! Running cargo and other programs.

use std::io::{BufRead, BufReader, pipe};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use apium_peers::{python, redis_server};

use crate::output;

/// The root of the repository: the folder above this crate.
pub(crate) fn root() -> Result<PathBuf, String> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .ok_or("find the repository: CARGO_MANIFEST_DIR is not set; run this as `cargo xtask`")?;
    Path::new(&manifest).parent().map(Path::to_owned).ok_or_else(|| "find the folder above xtask".to_owned())
}

/// A command of the cargo that runs this program, without the environment variables that configure Apium:
/// `APIUM_BROKER_URL` in a developer's shell must not change what a test does. The variables that name the tests' peers
/// stay. Those that describe this package go too: the build script of a dependency asks for one of them. It would run
/// again at each change between this command and a plain cargo, and all that needs it would be compiled again.
pub(crate) fn cargo(args: &[&str]) -> Result<Command, String> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root()?);
    for (name, _) in std::env::vars_os() {
        let names_a_peer = [redis_server::PROGRAM, python::PROGRAM].iter().any(|peer| name == *peer);
        let is_left_out =
            ["APIUM_", "CARGO_MANIFEST_", "CARGO_PKG_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix));
        if is_left_out && !names_a_peer {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// The same, where a release is optimised as that of a program that uses Apium: with what the profile of this
/// repository leaves out, so that its quickstart is built sooner.
pub(crate) fn optimised(args: &[&str]) -> Result<Command, String> {
    let mut command = cargo(args)?;
    // Cargo's default.
    command.env("CARGO_PROFILE_RELEASE_LTO", "false");
    Ok(command)
}

/// Runs `command` with the streams of this process; whether it succeeded.
pub(crate) fn passes(mut command: Command) -> Result<bool, String> {
    output::step(&shown(&command));
    let status = command.status().map_err(|e| format!("start {}: {e}", shown(&command)))?;
    Ok(status.success())
}

/// Runs `command` and returns its standard output. Its standard error goes to that of this process.
pub(crate) fn read(mut command: Command) -> Result<String, String> {
    let name = shown(&command);
    let out = command.stderr(Stdio::inherit()).output().map_err(|e| format!("start {name}: {e}"))?;
    if !out.status.success() {
        return Err(format!("run {name}: it ended with {}", out.status));
    }
    String::from_utf8(out.stdout).map_err(|e| format!("read the output of {name}: {e}"))
}

/// Runs `command` and passes each line of its output to `read`, standard output and standard error in the order in
/// which they were written; whether it succeeded.
pub(crate) fn stream(mut command: Command, read: &mut dyn FnMut(&str)) -> Result<bool, String> {
    let name = shown(&command);
    output::step(&name);
    let attempt = |e: std::io::Error| format!("run {name}: {e}");
    let (reader, writer) = pipe().map_err(attempt)?;
    command.stdout(writer.try_clone().map_err(attempt)?).stderr(writer);
    let mut child = command.spawn().map_err(attempt)?;
    // The command has copies of the writing end; while they are open, reading does not end.
    drop(command);
    let mut reader = BufReader::new(reader);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes).map_err(attempt)? > 0 {
        read(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']));
        bytes.clear();
    }
    Ok(child.wait().map_err(attempt)?.success())
}

fn shown(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let args = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    std::iter::once(name).chain(args).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_streams_arrive_in_order_and_the_exit_code_counts() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; echo three; exit 3"]);
        let mut lines = Vec::new();
        let passed = stream(command, &mut |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(lines, ["one", "two", "three"]);
        assert!(!passed);
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = passes(Command::new("no-such-program-here")).unwrap_err();
        assert!(error.contains("no-such-program-here"), "{error}");
    }
}
