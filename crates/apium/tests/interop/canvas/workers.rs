//! The workers of the flows: a Rust worker in this process and, when both sides run tasks, a worker of Celery.

use std::process::{Command, Stdio};
use std::time::Duration;

use apium::prelude::*;
use apium::worker::WorkerHandle;
use apium_peers::celery::CeleryWorker;
use apium_peers::python::Python;
use serde_json::Value;
use tempfile::TempDir;

use crate::canvas::flow::queue;
use crate::canvas::tasks;
use crate::kit::side::Side;

/// How long the tests wait for anything.
pub(crate) const LIMIT: Duration = Duration::from_secs(600);

/// The queue of tasks without one: what collects the results of a group that replaces a task. All workers consume it.
const SHARED: &str = "celery";

/// How many tasks each worker runs at once.
const SLOTS: usize = 4;

/// A store and its workers.
#[derive(Debug)]
pub(crate) struct Workers {
    pub(crate) app: App,
    rust: WorkerHandle,
    python: Option<(CeleryWorker, String)>,
    folder: TempDir,
}

impl Workers {
    /// Starts a Rust worker alone.
    pub(crate) async fn rust(url: &str) -> Self {
        Self::of(url, &[queue(Side::Rust), SHARED]).await
    }

    /// Starts a Rust worker of these queues alone.
    pub(crate) async fn of(url: &str, queues: &[&str]) -> Self {
        // With late acknowledgement, running tasks are unacknowledged, so the queues show when all tasks are done.
        let builder =
            App::builder("canvas").autodiscover(false).setting("task_acks_late", true).broker(url).backend(url);
        let builder = builder
            .register::<tasks::leaf>()
            .register::<tasks::replaced>()
            .register::<tasks::options>()
            .register::<tasks::ok>()
            .register::<tasks::error>()
            .register::<tasks::called>();
        let app = builder.build().await.unwrap();
        let worker = app.worker().hostname("rust@canvas").queues(queues.iter().copied()).concurrency(SLOTS);
        let rust = worker.start().await.unwrap();
        Self { app, rust, python: None, folder: tempfile::tempdir().unwrap() }
    }

    /// Starts a Rust worker and a Celery worker.
    pub(crate) async fn mixed(url: &str) -> Self {
        Self { python: Some((celery(url), url.to_owned())), ..Self::rust(url).await }
    }

    /// Starts a Rust worker and a Celery worker, which consume the same queues.
    pub(crate) async fn mixed_of(url: &str, queues: &[&str]) -> Self {
        Self { python: Some((celery_of(url, &queues.join(",")), url.to_owned())), ..Self::of(url, queues).await }
    }

    /// The file in which tasks record lines.
    pub(crate) fn path(&self) -> String {
        self.folder.path().join("done").to_str().unwrap().to_owned()
    }

    /// Sends flows from Celery and returns the results that their sender gets.
    pub(crate) async fn send_from_python(&self, requests: &[Value]) -> Vec<String> {
        let lines: String = requests.iter().map(|request| format!("{request}\n")).collect();
        let printed = self.run("canvas_client.py", "send", &lines).await;
        let answers: Vec<String> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(answers.len(), requests.len());
        answers
    }

    /// Runs a program of Celery on the store, with these lines as its input, and returns its output.
    pub(crate) async fn run(&self, program: &str, operation: &str, lines: &str) -> String {
        let (_, url) = self.python.as_ref().expect("a worker of Celery runs");
        let file = self.folder.path().join("requests");
        std::fs::write(&file, lines).unwrap();
        let mut command = client_of(program, url, operation);
        command.stdin(std::fs::File::open(file).unwrap());
        output(command).await
    }

    /// Whether a message is in a queue or in flight.
    pub(crate) async fn is_busy(&self) -> bool {
        let all = self.app.broker().queues().unwrap().counts().unwrap().stats().await.unwrap();
        let served = [queue(Side::Rust), queue(Side::Python), SHARED];
        let served = all.iter().filter(|stats| served.contains(&&*stats.queue));
        served.map(|stats| stats.ready + stats.unacked + stats.delayed).sum::<u64>() > 0
    }

    /// The state of queues, dead set and log, for a failure's text.
    pub(crate) async fn report(&self) -> String {
        let dead_letters = match self.app.broker().dead() {
            Some(dead) => dead.list(0, 5).await.unwrap(),
            None => Vec::new(),
        };
        let log = self.python.as_ref().map(|(worker, _)| worker.log()).unwrap_or_default();
        let errors: Vec<&str> =
            log.lines().filter(|line| line.contains("CRITICAL") || line.contains("NotRegistered")).collect();
        let queues = self.app.broker().queues().unwrap().counts().unwrap().stats().await.unwrap();
        format!("queues: {queues:?}\ndead letters: {dead_letters:?}\nin the log of Celery: {errors:?}")
    }

    /// Stops the Rust worker, when no task is left to run.
    pub(crate) async fn stop(self) {
        tokio::time::timeout(LIMIT, self.rust.stop()).await.unwrap();
    }
}

/// Celery's worker for the queue `python`.
pub(crate) fn celery(url: &str) -> CeleryWorker {
    celery_of(url, &format!("{},{SHARED}", queue(Side::Python)))
}

/// Celery's worker for these queues, divided by commas.
pub(crate) fn celery_of(url: &str, queues: &str) -> CeleryWorker {
    let slots = SLOTS.to_string();
    let args = ["-c", &slots, "-n", "python@canvas", "-Q", queues];
    CeleryWorker::of("canvas").urls(url, url).env("PEER_CONF", r#"{"task_acks_late": true}"#).args(args).start()
}

/// The command `canvas_client.py` on a store.
pub(crate) fn client(url: &str, operation: &str) -> Command {
    client_of("canvas_client.py", url, operation)
}

/// A command of another program.
pub(crate) fn client_of(program: &str, url: &str, operation: &str) -> Command {
    let env = [("BROKER_URL", url), ("RESULT_BACKEND", url), ("PEER_CONF", r#"{"task_acks_late": true}"#)];
    Python::find().command([program, operation], &env)
}

/// The output of a command, which must succeed.
pub(crate) async fn output(mut command: Command) -> String {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = tokio::process::Command::from(command).kill_on_drop(true).output();
    let output = tokio::time::timeout(LIMIT, running).await.expect("the program ends").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    assert!(output.status.success(), "{}", text(output.stderr));
    text(output.stdout)
}
