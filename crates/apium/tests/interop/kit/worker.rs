//! A worker of either side in its own process, with settings by Celery's names.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use apium_peers::celery::CeleryWorker;
use apium_peers::guarded::Guarded;
use apium_peers::log::Seen;
use apium_peers::target::example;
use serde_json::{Map, Value, json};

use crate::kit::side::Side;

/// How long a worker may take to become ready, or to stop.
const LIMIT: Duration = Duration::from_secs(60);

/// Settings by Celery's names, the same for both sides.
pub(crate) type WorkerSettings = Vec<(&'static str, Value)>;

/// Builds a worker.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// Broker and result backend.
    pub(crate) url: String,
    pub(crate) settings: WorkerSettings,
    /// Its name, which the log of runs has.
    pub(crate) name: &'static str,
    pub(crate) queues: &'static str,
    pub(crate) slots: u32,
    /// The Python module with the app.
    pub(crate) module: &'static str,
    /// Where a Rust worker finds its `apium.toml`.
    pub(crate) folder: Option<String>,
}

impl Setup {
    /// A worker with two slots for the queue `celery`, and defaults otherwise.
    pub(crate) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            settings: vec![("accept_content", json!(["json", "msgpack", "yaml"]))],
            name: "one@peer",
            queues: "celery",
            slots: 2,
            module: "tasks",
            folder: None,
        }
    }

    pub(crate) fn set(mut self, name: &'static str, value: Value) -> Self {
        self.settings.push((name, value));
        self
    }

    pub(crate) fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    pub(crate) fn queues(mut self, queues: &'static str) -> Self {
        self.queues = queues;
        self
    }

    pub(crate) fn slots(mut self, slots: u32) -> Self {
        self.slots = slots;
        self
    }

    /// Starts it and waits until it is ready.
    pub(crate) fn start(&self, side: Side) -> Worker {
        match side {
            Side::Rust => Worker::Rust(self.rust()),
            Side::Python => Worker::Python(self.python()),
        }
    }

    fn rust(&self) -> Guarded {
        let slots = self.slots.to_string();
        let mut command = Command::new(example("interop"));
        command.args(["worker", "-c", &slots, "-n", self.name]);
        if !self.queues.is_empty() {
            command.args(["-Q", self.queues]);
        }
        command.current_dir(self.folder.as_deref().map_or(Path::new("/"), Path::new));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("APIUM_") || name == "RUST_LOG" {
                command.env_remove(&*name);
            }
        }
        command.env("APIUM_BROKER_URL", &self.url).env("APIUM_RESULT_BACKEND", &self.url);
        for (name, value) in &self.settings {
            command.env(format!("APIUM_{}", name.to_uppercase()), as_text(value));
        }
        let running = Guarded::start(&command, None).unwrap();
        let seen = running.log().wait_for(&["ready"], LIMIT);
        assert_eq!(seen, Seen::Line, "the Rust worker is not ready; its log:\n{}", running.log().text());
        running
    }

    fn python(&self) -> CeleryWorker {
        let slots = self.slots.to_string();
        let mut args = vec!["-c", &slots, "-n", self.name];
        if !self.queues.is_empty() {
            args.extend(["-Q", self.queues]);
        }
        let worker = CeleryWorker::of(self.module).urls(&self.url, &self.url);
        worker.env("PEER_CONF", &as_object(&self.settings).to_string()).args(args).start()
    }
}

/// Settings as one JSON object.
pub(crate) fn as_object(settings: &WorkerSettings) -> Value {
    Value::Object(settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<Map<_, _>>())
}

/// A setting as the text of an environment variable of a Rust program.
pub(crate) fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(as_text).collect::<Vec<_>>().join(","),
        Value::Object(items) => {
            let pairs = items.iter().map(|(name, value)| format!("{name}={}", as_text(value)));
            pairs.collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

/// A running worker. It is killed when dropped.
#[derive(Debug)]
pub(crate) enum Worker {
    Rust(Guarded),
    Python(CeleryWorker),
}

impl Worker {
    /// Kills it and all processes that it started, as when the machine crashes.
    pub(crate) fn kill(&mut self) {
        match self {
            Self::Rust(running) => {
                running.kill_all();
                assert!(running.wait(LIMIT).is_some(), "the killed worker still runs");
            }
            Self::Python(worker) => worker.kill(),
        }
    }

    /// What it has printed so far.
    pub(crate) fn log(&self) -> String {
        match self {
            Self::Rust(running) => running.log().text(),
            Self::Python(worker) => worker.log(),
        }
    }
}
