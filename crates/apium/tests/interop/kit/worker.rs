//! A worker of either side in its own process, with settings by Celery's names.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use apium_peers::celery::CeleryWorker;
use apium_peers::guarded::Guarded;
use apium_peers::log::Seen;
use apium_peers::python::{Python, programs};
use apium_peers::target::example;
use serde_json::{Map, Value, json};

use crate::kit::side::Side;

/// How long a worker may take to become ready, or to stop.
const LIMIT: Duration = Duration::from_secs(180);

/// Settings by Celery's names, the same for both sides.
pub(crate) type WorkerSettings = Vec<(&'static str, Value)>;

/// Builds a worker.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// The broker.
    pub(crate) url: String,
    /// The result backend.
    pub(crate) results: String,
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
            results: url.to_owned(),
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

    /// With another result backend than the broker's store.
    pub(crate) fn results(mut self, url: &str) -> Self {
        self.results = url.to_owned();
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

    /// Starts a worker of Apium that runs the tasks of the Python app in child processes.
    pub(crate) fn start_children(&self) -> Worker {
        self.start_children_of(Path::new(env!("CARGO_BIN_EXE_apium")))
    }

    /// The same with another program, which may have tasks of its own.
    pub(crate) fn start_children_of(&self, program: &Path) -> Worker {
        let mut command = Command::new(program);
        command.args(["worker", "-A", self.module, "--python"]).arg(Python::find().program());
        // The app has its settings and its addresses from the variables that Celery's worker gets.
        command.current_dir(programs());
        command.env("BROKER_URL", &self.url).env("RESULT_BACKEND", &self.results);
        command.env("PEER_CONF", as_object(&self.settings).to_string());
        Worker::Rust(self.ready(command))
    }

    fn rust(&self) -> Guarded {
        let mut command = Command::new(example("interop"));
        command.arg("worker").current_dir(self.folder.as_deref().map_or(Path::new("/"), Path::new));
        command.env("APIUM_BROKER_URL", &self.url).env("APIUM_RESULT_BACKEND", &self.results);
        for (name, value) in &self.settings {
            command.env(format!("APIUM_{}", name.to_uppercase()), as_text(value));
        }
        self.ready(command)
    }

    /// Starts a program as a worker, and waits until it is ready.
    fn ready(&self, mut command: Command) -> Guarded {
        let slots = self.slots.to_string();
        command.args(["-c", &slots, "-n", self.name]);
        if !self.queues.is_empty() {
            command.args(["-Q", self.queues]);
        }
        let own: Vec<_> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if (name.starts_with("APIUM_") || name == "RUST_LOG") && !own.contains(&(&*name).into()) {
                command.env_remove(&*name);
            }
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
        let worker = CeleryWorker::of(self.module).urls(&self.url, &self.results);
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

    /// Stops it warmly, as a service does.
    pub(crate) fn stop(&mut self) {
        let code = match self {
            Self::Rust(running) => {
                running.signal("TERM");
                running.wait(LIMIT).and_then(|status| status.code())
            }
            Self::Python(worker) => {
                worker.terminate();
                worker.wait()
            }
        };
        assert_eq!(code, Some(0), "{}", self.log());
    }

    /// What it has printed so far.
    pub(crate) fn log(&self) -> String {
        match self {
            Self::Rust(running) => running.log().text(),
            Self::Python(worker) => worker.log(),
        }
    }
}
