//! Other processes of a program: itself, started again in another role.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::process;

/// This program, running once more in a role of its own. Dropped, it is killed. It is told to end when its standard input does, so it
/// does not outlive us for long either.
#[derive(Debug)]
pub struct Role {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Role {
    /// Starts this program with `args`.
    pub fn start(args: &[&str]) -> io::Result<Self> {
        let mut child =
            Command::new(std::env::current_exe()?).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let missing = || io::Error::other("the child has no pipe");
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        Ok(Self { child, input: Some(input), output })
    }

    /// The next line it prints; an error when it ends instead.
    pub fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.output.read_line(&mut line)? {
            0 => Err(io::Error::other("the child ended without a word")),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    /// Kills it as `kill -9` does and waits for its end.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// When it ends, whoever waits for it: `clock` is read the moment it does, which may be long before somebody looks.
    pub fn end(&self, clock: fn() -> i64) -> Arc<OnceLock<i64>> {
        let end = Arc::new(OnceLock::new());
        let (noted, pid) = (end.clone(), i32::try_from(self.pid()).ok().and_then(Pid::from_raw));
        thread::spawn(move || {
            // It stays to be waited for: its number is its own until then.
            let seen = pid.map(|pid| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT));
            if let Some(Ok(_)) = seen {
                let _ = noted.set(clock());
            }
        });
        end
    }

    /// Tells it to end and does not wait.
    pub fn hang_up(&mut self) {
        drop(self.input.take());
    }

    /// Sends it a signal, named as `kill -s` takes it.
    pub fn signal(&self, name: &str) -> io::Result<()> {
        let sent =
            Command::new("sh").args(["-c", r#"kill -s "$0" -- "$1""#, name, &self.pid().to_string()]).status()?;
        if sent.success() { Ok(()) } else { Err(io::Error::other(format!("the child takes no {name}"))) }
    }

    /// Tells it to end and waits; whether it ended well.
    pub fn stop(mut self) -> io::Result<bool> {
        drop(self.input.take());
        Ok(self.child.wait()?.success())
    }

    /// Waits for it to end by itself; whether it ended well.
    pub fn join(mut self) -> io::Result<bool> {
        Ok(self.child.wait()?.success())
    }

    /// Memory that is its own, in megabytes.
    pub fn memory(&self) -> io::Result<f64> {
        process::memory(self.child.id())
    }

    /// Processor time used so far, user and system.
    pub fn processor(&self) -> io::Result<Duration> {
        process::processor(self.child.id())
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // One that has ended, and was waited for, takes no signal.
        let _ = self.kill();
    }
}

/// Waits until standard input ends: whoever started us wants us to stop, or is gone.
pub async fn told_to_end() {
    let mut input = tokio::io::stdin();
    // A broken pipe is an end too.
    let _ = tokio::io::copy(&mut input, &mut tokio::io::sink()).await;
}
