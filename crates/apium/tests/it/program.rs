//! Programs under test: the binary and the examples. Each has a deadline and runs in its own folder.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use apium_peers::target::example;
use tempfile::TempDir;

/// How long a program under test may run.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// A folder with a queue, in which programs are started.
pub(crate) struct Sandbox {
    dir: TempDir,
}

impl Sandbox {
    /// An empty folder.
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The file of the queue.
    pub(crate) fn file(&self) -> PathBuf {
        self.path().join("queue.db")
    }

    /// The address of the queue.
    pub(crate) fn url(&self) -> String {
        format!("sqlite://{}", self.file().display())
    }

    /// A program that is started here with this folder's queue and results, and without other settings of the
    /// environment.
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

    /// Runs the binary `apium` to its end.
    pub(crate) fn apium(&self, args: &[&str]) -> ProgramOutput {
        run(self.command(Path::new(env!("CARGO_BIN_EXE_apium")), args))
    }

    /// Runs the example `interop` to its end.
    pub(crate) fn interop(&self, args: &[&str]) -> ProgramOutput {
        run(self.command(&example("interop"), args))
    }

    /// Runs `interop call … --wait --json`. Returns the document and the exit code.
    pub(crate) fn call(&self, args: &[&str]) -> (serde_json::Value, i32) {
        let all: Vec<&str> =
            ["call"].iter().chain(args).chain(&["--wait", "--json", "--timeout", "60"]).copied().collect();
        let output = self.interop(&all);
        (output.json(), output.code)
    }

    /// Starts an `interop worker` with two slots, and waits until it is ready.
    pub(crate) fn worker(&self, args: &[&str]) -> Running {
        self.worker_with(args, &[])
    }

    /// Like [`worker`](Self::worker), with environment variables.
    pub(crate) fn worker_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Running {
        let all: Vec<&str> = ["worker", "-c", "2"].iter().chain(args).copied().collect();
        let mut command = self.command(&example("interop"), &all);
        command.envs(variables.iter().copied());
        let mut running = Running::start(command, Stream::Err);
        running.wait_for("ready");
        running
    }
}

/// The output of a program, and how it ended.
#[derive(Debug)]
pub(crate) struct ProgramOutput {
    /// The exit code; -1 when a signal ended it.
    pub(crate) code: i32,
    /// Its stdout.
    pub(crate) out: String,
    /// Its stderr.
    pub(crate) err: String,
}

impl ProgramOutput {
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
pub(crate) fn run(mut command: Command) -> ProgramOutput {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    match receiver.recv_timeout(DEADLINE) {
        Ok(output) => read(output.unwrap()),
        Err(_) => {
            signal(pid, "KILL");
            panic!("{command:?} did not end: {:?}", receiver.recv().unwrap().map(read));
        }
    }
}

fn read(output: Output) -> ProgramOutput {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    ProgramOutput { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// Sends a signal to a process that this test started.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap();
    assert!(sent.success(), "kill -{name} {pid}");
}

/// The stream of a running program that is read line by line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Stdout.
    Out,
    /// Stderr.
    Err,
}

/// A program that runs beside the test. It is killed when the test ends.
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
        let (sender, lines) = mpsc::sync_channel(100_000);
        std::thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
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

    /// Waits for a line that contains `part`.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, part: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
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

    /// A line that contains both parts. It may have been read already.
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
        self.remaining()
    }

    /// Sends a signal and waits for the end. Returns the exit code and every line.
    pub(crate) fn stop(mut self, name: &str) -> (i32, Vec<String>) {
        signal(self.pid(), name);
        let code = self.wait();
        (code, self.remaining())
    }

    /// Waits for the end of the stream, then for the end of the program.
    fn wait(&mut self) -> i32 {
        let deadline = Instant::now() + DEADLINE;
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.seen.push(line);
        }
        assert!(Instant::now() < deadline, "it did not end:\n{}", self.seen.join("\n"));
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Waits until the program ends by itself. Returns the exit code and every line.
    pub(crate) fn end(mut self) -> (i32, Vec<String>) {
        let code = self.wait();
        (code, std::mem::take(&mut self.seen))
    }

    fn remaining(&mut self) -> Vec<String> {
        self.seen.extend(self.lines.iter());
        std::mem::take(&mut self.seen)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
