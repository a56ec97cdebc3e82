//! Other processes of a program: the program itself, started again in another role.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::process;

/// This program, started again in another role. It is killed when dropped. It ends when its standard input closes, so
/// it does not outlive this process for long.
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

    /// The next line that it prints; an error when it ends instead.
    pub fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.output.read_line(&mut line)? {
            0 => Err(io::Error::other("the child ended and printed no line")),
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

    /// The time of its end by `clock`, set at that moment, which may be long before anybody asks whether it has ended.
    pub fn end(&self, clock: fn() -> i64) -> Arc<OnceLock<i64>> {
        let end = Arc::new(OnceLock::new());
        let (set, pid) = (end.clone(), i32::try_from(self.pid()).ok().and_then(Pid::from_raw));
        thread::spawn(move || {
            // The child stays a zombie, so its number is not given to another process.
            let waited = pid.map(|pid| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT));
            if let Some(Ok(_)) = waited {
                let _ = set.set(clock());
            }
        });
        end
    }

    /// Tells it to end, and does not wait.
    pub fn close_stdin(&mut self) {
        drop(self.input.take());
    }

    /// Sends it a signal, named as for `kill -s`.
    pub fn signal(&self, name: &str) -> io::Result<()> {
        process::signal(self.pid(), name)
    }

    /// Tells it to end and waits; whether it succeeded.
    pub fn stop(mut self) -> io::Result<bool> {
        drop(self.input.take());
        Ok(self.child.wait()?.success())
    }

    /// Waits until it ends by itself; whether it succeeded.
    pub fn join(mut self) -> io::Result<bool> {
        Ok(self.child.wait()?.success())
    }

    /// Its memory (PSS), in megabytes.
    pub fn memory(&self) -> io::Result<f64> {
        process::memory(self.child.id())
    }

    /// The memory that it has written itself, in megabytes.
    pub fn written_memory(&self) -> io::Result<f64> {
        process::written_memory(self.child.id())
    }

    /// Processor time used so far, user and system.
    pub fn processor(&self) -> io::Result<Duration> {
        process::processor(self.child.id())
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.kill();
    }
}

/// Waits until standard input closes: the parent wants this process to stop, or has ended.
pub async fn stdin_closed() {
    let mut input = tokio::io::stdin();
    // A broken pipe is closed, too.
    let _ = tokio::io::copy(&mut input, &mut tokio::io::sink()).await;
}
