//! A real Celery worker.

use std::time::Duration;

use crate::guarded::Guarded;
use crate::log::Seen;
use crate::python::Python;

/// How long a worker may take to become ready, or to stop.
const LIMIT: Duration = Duration::from_secs(180);

/// Builds a worker.
#[derive(Debug, Clone)]
pub struct Builder {
    app: String,
    env: Vec<(String, String)>,
    args: Vec<String>,
    mingles: bool,
}

impl Builder {
    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the addresses of its broker and of its result backend.
    #[must_use]
    pub fn urls(self, broker: &str, backend: &str) -> Self {
        self.env("BROKER_URL", broker).env("RESULT_BACKEND", backend)
    }

    /// Adds arguments of `celery worker`: `["-c", "4", "-P", "threads", "-Q", "a,b", "-n", "one@peer"]`.
    #[must_use]
    pub fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args.into_iter().map(str::to_owned));
        self
    }

    /// Turns on Celery's mingle and gossip, for which a worker waits a second at its start.
    #[must_use]
    pub fn mingles(mut self) -> Self {
        self.mingles = true;
        self
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> CeleryWorker {
        self.try_start().unwrap_or_else(|error| panic!("could not start a Celery worker: {error}"))
    }

    #[track_caller]
    fn try_start(self) -> Result<CeleryWorker, String> {
        let mut args = vec!["-m", "celery", "-A", &*self.app, "worker", "--loglevel", "INFO", "-c", "2"];
        if !self.mingles {
            args.extend(["--without-mingle", "--without-gossip"]);
        }
        args.extend(self.args.iter().map(|arg| &**arg));
        let env: Vec<(&str, &str)> = self.env.iter().map(|(name, value)| (&**name, &**value)).collect();
        let command = Python::find().command(args, &env);
        let running = Guarded::start(&command, None).map_err(|error| format!("start a shell: {error}"))?;
        let worker = CeleryWorker { running };
        match worker.running.log().wait_for(&[" ready."], LIMIT) {
            Seen::Line => Ok(worker),
            Seen::End => Err(format!("it ended; its log:\n{}", worker.log())),
            Seen::Nothing => Err(format!("it is not ready after {} s; its log:\n{}", LIMIT.as_secs(), worker.log())),
        }
    }
}

/// A running worker. It is killed with its pool when dropped.
#[derive(Debug)]
pub struct CeleryWorker {
    running: Guarded,
}

impl CeleryWorker {
    /// A worker of `tests/interop/tasks.py`.
    pub fn builder() -> Builder {
        Self::of("tasks")
    }

    /// A worker of another app in the same folder, named as for `celery -A`.
    pub fn of(app: &str) -> Builder {
        Builder { app: app.to_owned(), env: Vec::new(), args: Vec::new(), mingles: false }
    }

    /// The id of its main process.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        self.running.log().text()
    }

    /// Waits until its log contains `part`.
    #[track_caller]
    pub fn wait_for(&self, part: &str) {
        let seen = self.running.log().wait_for(&[part], LIMIT);
        assert_eq!(seen, Seen::Line, "the log of the worker has no line with {part:?}:\n{}", self.log());
    }

    /// Kills it and its pool as when the machine goes down.
    #[track_caller]
    pub fn kill(&mut self) {
        self.running.kill_all();
        self.wait();
    }

    /// Starts a warm shutdown, and does not wait.
    pub fn terminate(&mut self) {
        self.running.signal("TERM");
    }

    /// Waits until it and its pool have ended; its exit code.
    #[track_caller]
    pub fn wait(&mut self) -> Option<i32> {
        let status = self.running.wait(LIMIT);
        assert!(status.is_some(), "the worker does not end; its log:\n{}", self.log());
        status.and_then(|status| status.code())
    }
}
