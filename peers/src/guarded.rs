//! A process that ends with this one, however this one ends: it returns, panics, or is killed with SIGKILL.
//!
//! Without unsafe code a parent cannot ask the kernel for that, so a shell stands in between. It starts the program and
//! reads from a pipe whose other end only this process has open. When the pipe closes, because it was dropped or
//! because this process has ended, the shell removes the program's directory and kills its whole process group. The
//! group is its own, so Ctrl-C in a terminal ends this process first, and then the program in the same way.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::log::Log;

/// The script of the shell. Arguments: the directory to remove (may be empty), the program, its arguments. It prints
/// the program's process id on standard error and exits with the program's status.
///
/// It removes the directory first, and then kills the group as a whole, with the shell in it: while a process is in a
/// group, the number of the group is not given to another one.
const GUARD: &str = r#"
directory=$1
shift
exec 3<&0
"$@" </dev/null 3<&- 2>&1 &
program=$!
(
    read -r word <&3
    if [ -n "$directory" ] && [ "$word" != keep ]; then
        rm -rf "$directory" || rm -rf "$directory"
    fi
    kill -s KILL 0
) >/dev/null 2>&1 &
exec 3<&- >/dev/null
echo "$program" >&2
exec 2>/dev/null
wait "$program"
"#;

/// A running program and its guard. When dropped, the program is killed and its directory removed.
#[derive(Debug)]
pub struct Guarded {
    guard: Child,
    pipe: Option<ChildStdin>,
    pid: u32,
    log: Log,
    directory: Option<PathBuf>,
}

impl Guarded {
    /// Starts `command`: its program, arguments, variables and folder are used, its streams are not. `directory` is
    /// removed when the program is dropped or this process ends.
    pub fn start(command: &Command, directory: Option<&Path>) -> io::Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", GUARD, "guard"]).arg(directory.unwrap_or(Path::new("")));
        shell.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            shell.current_dir(folder);
        }
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut guard = shell.spawn()?;
        let missing = || io::Error::other("the guard has no pipe");
        let pipe = guard.stdin.take();
        let log = Log::of(guard.stdout.take().ok_or_else(missing)?);
        let mut printed = String::new();
        BufReader::new(guard.stderr.take().ok_or_else(missing)?).read_line(&mut printed)?;
        let pid = printed.trim().parse().map_err(|_| io::Error::other(format!("the guard printed {printed:?}")))?;
        Ok(Self { guard, pipe, pid, log, directory: directory.map(Path::to_owned) })
    }

    /// The program's process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it has printed, on both streams.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The exit status of the program; nothing while it runs. A signal counts as 128 and its number, as in a shell.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.guard.try_wait().ok().flatten()
    }

    /// Sends a signal, named as for `kill -s`. A program that has ended gets none.
    pub fn signal(&mut self, name: &str) {
        if self.status().is_none() {
            send(name, &self.pid.to_string());
        }
    }

    /// Kills the program and every process that it started, as when the machine goes down.
    pub fn kill_all(&mut self) {
        // While the pipe is open the guard is in the group, so the number is still the group's.
        if let Some(_pipe) = self.pipe.take() {
            send("KILL", &format!("-{}", self.guard.id()));
        }
    }

    /// Waits until the program and all processes that it started have ended.
    pub fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        if self.log.wait_for_end(within) { self.guard.wait().ok() } else { None }
    }

    /// Ends the guard and the program, and leaves the directory for the next program.
    pub(crate) fn keep_directory(mut self) {
        self.directory = None;
        if let Some(pipe) = &mut self.pipe {
            // A guard that has ended removes nothing.
            let _ = pipe.write_all(b"keep\n");
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // This does what the guard would do, so that all is done when this returns. It also waits for the program: in
        // some containers nobody waits for orphans.
        self.signal("KILL");
        let _ = self.guard.wait();
        if let Some(directory) = &self.directory {
            // It may be gone already.
            let _ = std::fs::remove_dir_all(directory);
        }
        drop(self.pipe.take());
        self.log.join();
    }
}

/// Whether a process runs. One that has ended does not, though it stands in `/proc` until somebody has waited for it,
/// which in some containers nobody does for orphans.
pub fn runs(pid: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in brackets may contain anything.
    state.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Runs `kill -s NAME -- TARGET` in a shell, because there may be no program `kill`.
fn send(name: &str, target: &str) {
    let sent = Command::new("sh").args(["-c", r#"kill -s "$1" -- "$2""#, "kill", name, target]).output();
    // A process that has just ended cannot get a signal, which is no error.
    if let Err(error) = sent {
        panic!("could not send {name} to process {target}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::log::Seen;

    const LIMIT: Duration = Duration::from_secs(30);

    fn shell(script: &str) -> Guarded {
        let mut command = Command::new("sh");
        command.args(["-c", script]).env("WORD", "from outside");
        Guarded::start(&command, None).unwrap()
    }

    #[test]
    fn it_prints_and_ends_with_its_status() {
        let mut program = shell("echo \"$WORD\"; echo two >&2; exit 7");
        assert_eq!(program.wait(LIMIT).and_then(|status| status.code()), Some(7));
        assert_eq!(program.log().text(), "from outside\ntwo\n");
    }

    #[test]
    fn a_signal_reaches_the_program() {
        let mut program = shell("echo ready; exec tail -f /dev/null");
        assert_eq!(program.log().wait_for(&["ready"], LIMIT), Seen::Line);
        program.signal("TERM");
        assert_eq!(program.wait(LIMIT).and_then(|status| status.code()), Some(128 + 15));
    }

    #[test]
    fn dropping_kills_what_the_program_started_and_removes_the_directory() {
        let directory = std::env::temp_dir().join(format!("apium-guarded-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "tail -f /dev/null & echo $!; wait"]);
        let program = Guarded::start(&command, Some(&directory)).unwrap();
        program.log().wait_for(&["\n"], LIMIT);
        let child: u32 = program.log().text().trim().parse().unwrap();
        assert!(runs(child));
        drop(program);
        assert!(!directory.exists());
        // It has closed its files and is about to end.
        let until = Instant::now() + LIMIT;
        while runs(child) {
            assert!(Instant::now() < until, "{child} lives");
            std::thread::yield_now();
        }
    }
}
