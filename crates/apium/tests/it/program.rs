//! Programs under test: the binary and the examples, each with a deadline, each in a folder of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use apium_peers::target::example;
use tempfile::TempDir;

/// No program under test runs longer than this.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// A folder of its own with a queue in it, where programs are started.
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    /// An empty folder.
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The queue's file.
    pub(crate) fn file(&self) -> PathBuf {
        self.path().join("queue.db")
    }

    /// The address of the queue.
    pub(crate) fn url(&self) -> String {
        format!("sqlite://{}", self.file().display())
    }

    /// A program started here, without the settings of whoever runs the tests, with this place's queue and results.
    pub(crate) fn command(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("APIUM_") || name == "RUST_LOG" {
                command.env_remove(&*name);
            }
        }
        command
            .env("APIUM_BROKER_URL", self.url())
            .env("APIUM_RESULT_BACKEND", self.url())
            .env("APIUM_WORKER_LEASE", "1");
        command
    }

    /// The binary `apium`, run to its end.
    pub(crate) fn apium(&self, args: &[&str]) -> Ended {
        run(self.command(Path::new(env!("CARGO_BIN_EXE_apium")), args))
    }

    /// The example `interop`, run to its end.
    pub(crate) fn interop(&self, args: &[&str]) -> Ended {
        run(self.command(&example("interop"), args))
    }

    /// `interop call … --wait --json`: the document and the exit code.
    pub(crate) fn call(&self, args: &[&str]) -> (serde_json::Value, i32) {
        let all: Vec<&str> =
            ["call"].iter().chain(args).chain(&["--wait", "--json", "--timeout", "60"]).copied().collect();
        let ended = self.interop(&all);
        (ended.json(), ended.code)
    }

    /// A running `interop worker` that is ready, with two slots.
    pub(crate) fn worker(&self, args: &[&str]) -> Running {
        self.worker_with(args, &[])
    }

    /// The same with environment variables.
    pub(crate) fn worker_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Running {
        let all: Vec<&str> = ["worker", "-c", "2"].iter().chain(args).copied().collect();
        let mut command = self.command(&example("interop"), &all);
        command.envs(variables.iter().copied());
        let mut running = Running::start(command, Stream::Err);
        running.wait_for("ready");
        running
    }
}

/// What a program printed and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; -1 when a signal ended it.
    pub(crate) code: i32,
    /// Its stdout.
    pub(crate) out: String,
    /// Its stderr.
    pub(crate) err: String,
}

impl Ended {
    /// The last line of stdout as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        let last = self.out.lines().last().unwrap_or_else(|| panic!("nothing on stdout: {self:?}"));
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

/// Runs a program to its end.
pub(crate) fn run(mut command: Command) -> Ended {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let (tell, told) = mpsc::sync_channel(1);
    std::thread::spawn(move || tell.send(child.wait_with_output()));
    match told.recv_timeout(DEADLINE) {
        Ok(output) => ended(output.unwrap()),
        Err(_) => {
            signal(pid, "KILL");
            panic!("{command:?} did not end: {:?}", told.recv().unwrap().map(ended));
        }
    }
}

fn ended(output: Output) -> Ended {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// Sends a signal to a process that this test started.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap();
    assert!(sent.success(), "kill -{name} {pid}");
}

/// Which stream of a running program is read line by line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Stdout.
    Out,
    /// Stderr.
    Err,
}

/// A program that runs while the test goes on; it is killed with the test.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    /// Starts a program, and reads one of its streams.
    pub(crate) fn start(mut command: Command, stream: Stream) -> Self {
        match stream {
            Stream::Out => command.stdout(Stdio::piped()),
            Stream::Err => command.stdout(Stdio::null()).stderr(Stdio::piped()),
        };
        let mut child = command.spawn().unwrap();
        let source: Box<dyn Read + Send> = match stream {
            Stream::Out => Box::new(child.stdout.take().unwrap()),
            Stream::Err => Box::new(child.stderr.take().unwrap()),
        };
        let (tell, lines) = mpsc::sync_channel(100_000);
        std::thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, seen: Vec::new() }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that has `part` in it.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, part: &str) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(_) => panic!("no line with {part:?} in:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// A line that has both parts in it, seen already or to come.
    #[track_caller]
    pub(crate) fn seen_or_wait(&mut self, one: &str, other: &str) -> String {
        if let Some(line) = self.seen.iter().find(|line| line.contains(one) && line.contains(other)) {
            return line.clone();
        }
        loop {
            let line = self.wait_for(one);
            if line.contains(other) {
                return line;
            }
        }
    }

    /// Kills it as `kill -9` does.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.rest()
    }

    /// Sends a signal and waits for the end: the exit code, and every line.
    pub(crate) fn stop(mut self, name: &str) -> (i32, Vec<String>) {
        signal(self.pid(), name);
        let code = self.wait();
        (code, self.rest())
    }

    /// Waits for the end of the stream, then of the program.
    fn wait(&mut self) -> i32 {
        let until = Instant::now() + DEADLINE;
        while let Ok(line) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            self.seen.push(line);
        }
        assert!(Instant::now() < until, "it did not end:\n{}", self.seen.join("\n"));
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Every line up to the end, which must come by itself.
    pub(crate) fn end(mut self) -> (i32, Vec<String>) {
        let code = self.wait();
        (code, std::mem::take(&mut self.seen))
    }

    fn rest(&mut self) -> Vec<String> {
        self.seen.extend(self.lines.iter());
        std::mem::take(&mut self.seen)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, or is to end with the test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
