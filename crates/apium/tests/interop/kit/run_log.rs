//! The log of runs: a file in which tasks of both sides record what ran, and on which worker.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::kit::worker::Worker;

/// How long the tests wait for anything.
const LIMIT: Duration = Duration::from_secs(180);

/// A file that `tasks.log_run` writes to.
#[derive(Debug)]
pub(crate) struct RunLog {
    folder: TempDir,
}

/// The workers that recorded each word.
pub(crate) type Done = BTreeMap<String, Vec<String>>;

impl RunLog {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("runs")
    }

    /// The path as an argument.
    pub(crate) fn path(&self) -> String {
        self.file().to_str().unwrap().to_owned()
    }

    /// All lines so far: `begin` or `end`, the word, the worker.
    pub(crate) fn lines(&self) -> Vec<[String; 3]> {
        let text = std::fs::read_to_string(self.file()).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let fields = |line: &str| {
            let fields: Vec<String> = line.split(' ').map(str::to_owned).collect();
            fields.try_into().unwrap()
        };
        whole.lines().map(fields).collect()
    }

    /// The workers that recorded `what` (`begin` or `end`) of each word.
    pub(crate) fn done(&self, what: &str) -> Done {
        let mut done = Done::new();
        for [how, word, worker] in self.lines() {
            if how == what {
                done.entry(word).or_default().push(worker);
            }
        }
        done
    }

    /// Waits until `words` different words have been recorded with `what`.
    pub(crate) async fn wait_for(&self, what: &str, words: usize, workers: &[&Worker]) -> Done {
        self.wait_until(workers, &format!("{words} words with {what:?}"), |run_log| run_log.done(what).len() >= words)
            .await;
        self.done(what)
    }

    /// Waits until `runs` runs have ended.
    pub(crate) async fn wait_for_ends(&self, runs: usize, workers: &[&Worker]) {
        let ended = |run_log: &Self| run_log.lines().iter().filter(|line| line[0] == "end").count() >= runs;
        self.wait_until(workers, &format!("the end of {runs} runs"), ended).await;
    }

    async fn wait_until(&self, workers: &[&Worker], what: &str, holds: impl Fn(&Self) -> bool) {
        let mut interval = tokio::time::interval(Duration::from_millis(10));
        let waiting = async {
            while !holds(self) {
                interval.tick().await;
            }
        };
        if tokio::time::timeout(LIMIT, waiting).await.is_err() {
            let logs: Vec<String> = workers.iter().map(|worker| worker.log()).collect();
            panic!("{what} should be recorded; the log has {:?}\n{}", self.lines(), logs.join("\n"));
        }
    }
}
