//! Runs files of the tests, each in a program of its own, with the workers of one column of the table.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use apium_peers::guarded::Guarded;
use apium_peers::redis_server::RedisServer;
use serde::Deserialize;

use crate::install::{Suite, plugin};
use crate::outcomes::{Outcomes, file_of};

/// How long one test may take.
const TEST: Duration = Duration::from_secs(300);

/// How long one file may take.
const FILE: Duration = Duration::from_secs(3600);

/// The workers that the tests start: a column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Workers {
    /// Celery's worker, as the tests start it.
    Celery,
    /// A worker of Apium in its place.
    Rust,
    /// Both, on one queue.
    Both,
    /// A worker of Apium with the tasks of the tests themselves, in Python.
    Python,
}

impl Workers {
    /// All, in the order of the table.
    pub const ALL: [Self; 4] = [Self::Celery, Self::Rust, Self::Both, Self::Python];

    /// The title of the column.
    pub fn title(self) -> &'static str {
        match self {
            Self::Celery => "Celery's worker",
            Self::Rust => "Apium's worker",
            Self::Both => "both on one queue",
            Self::Python => "Apium's worker, tasks in Python",
        }
    }
}

/// The tests that are run.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    files: Vec<(String, Vec<String>)>,
    words: Vec<String>,
}

impl Selection {
    /// A part that takes a few seconds: rows of groups, and tests of each kind of workflow, failure and replacement.
    pub fn part() -> Self {
        let of = |file: &str, words: &[&str]| (file.to_owned(), words.iter().map(|word| (*word).to_owned()).collect());
        let canvas =
            ["error_propagates_to_chord", "child_replaced", "test_simple_ch", "second_order", "implicit_chords"];
        let files = vec![
            of("test_group_chains", &["test_group_results"]),
            of("test_canvas", &canvas),
            of("test_tasks", &["retry_switches", "time_limits", "test_reject", "nesting"]),
        ];
        Self { files, words: Vec::new() }
    }

    /// Every file of `t/integration`.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn all(suite: &Suite) -> Result<Self, String> {
        let folder = suite.sources.join("t/integration");
        let attempt = |error: std::io::Error| format!("list {}: {error}", folder.display());
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(attempt)? {
            let name = entry.map_err(attempt)?.file_name().to_string_lossy().into_owned();
            if name.starts_with("test_") && name.ends_with(".py") {
                files.push((file_of(&name).to_owned(), Vec::new()));
            }
        }
        files.sort();
        Ok(Self { files, words: Vec::new() })
    }

    /// Of these tests, those whose name contains one of `words`; all without words.
    #[must_use]
    pub fn only(mut self, words: Vec<String>) -> Self {
        let (files, words): (Vec<String>, Vec<String>) =
            words.into_iter().partition(|word| self.files.iter().any(|(file, _)| file == word));
        if !files.is_empty() {
            self.files.retain(|(file, _)| files.contains(file));
        }
        self.words = words;
        self
    }
}

/// Runs the tests. `shown` gets a line for each file.
///
/// # Errors
/// A program cannot be started, or does not end.
pub fn run(
    suite: &Suite,
    worker: &Path,
    workers: Workers,
    selection: &Selection,
    shown: &mut dyn FnMut(&str),
) -> Result<Outcomes, String> {
    let folder = tempfile::tempdir().map_err(|error| format!("make a temporary folder: {error}"))?;
    let outcomes = folder.path().join("outcomes.jsonl");
    for (file, words) in &selection.files {
        let (server, began) = (RedisServer::start(), Instant::now());
        let mut command = pytest(suite, &server, file);
        let words: Vec<&str> = words.iter().chain(&selection.words).map(String::as_str).collect();
        if !words.is_empty() {
            command.args(["-k", &words.join(" or ")]);
        }
        command.env("SUITE_FOLDER", folder.path());
        if workers != Workers::Celery {
            command.env("SUITE_WORKER", worker);
        }
        match workers {
            Workers::Celery | Workers::Rust => {}
            Workers::Both => drop(command.env("SUITE_MIXED", "1")),
            Workers::Python => drop(command.env("SUITE_PYTHON", "1")),
        }
        let mut running =
            Guarded::start(&command, None).map_err(|error| format!("start the tests of {file}: {error}"))?;
        let ended = running.wait(FILE);
        let log = running.log().text();
        if ended.is_none() {
            return Err(format!("end the tests of {file} within {} s:\n{log}", FILE.as_secs()));
        }
        let known = Outcomes::read(&std::fs::read_to_string(&outcomes).unwrap_or_default())?;
        // A file that cannot be imported, since it is for another service, has no test.
        let last = log.lines().last().unwrap_or_default();
        shown(&format!("{file}: {} in {} s ({last})", known.summary_of(file), began.elapsed().as_secs()));
    }
    Outcomes::read(&std::fs::read_to_string(&outcomes).unwrap_or_default())
}

fn pytest(suite: &Suite, server: &RedisServer, file: &str) -> Command {
    let url = format!("redis://127.0.0.1:{}/0", server.port());
    let (limit, test) = (TEST.as_secs().to_string(), format!("t/integration/{file}.py"));
    let mut command = Command::new(&suite.python);
    command.args(["-m", "pytest", &test, "--quiet", "-p", "no:cacheprovider", "-p", "celery.contrib.pytest"]);
    command.args(["-p", "rust_worker", "--timeout", &limit]).current_dir(&suite.sources);
    command.envs([("TEST_BROKER", &url), ("TEST_BACKEND", &url)]).env("REDIS_HOST", "127.0.0.1");
    command.env("REDIS_PORT", server.port().to_string()).env("SUITE_LIMIT", limit);
    // Some tests start the program `celery`.
    let programs = suite.python.parent().unwrap_or(&suite.python).display();
    command.env("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap_or_default()));
    command.env("PYTHONPATH", plugin()).env("PYTHONDONTWRITEBYTECODE", "1").env("WORKER_LOGLEVEL", "INFO");
    command
}
