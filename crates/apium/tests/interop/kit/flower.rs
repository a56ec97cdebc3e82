//! Flower on the broker of a deployment, and what it answers.

use std::time::Duration;

use apium_peers::guarded::Guarded;
use apium_peers::http::{HttpAnswer, ask};
use apium_peers::log::Seen;
use apium_peers::python::Python;
use serde_json::Value;

use crate::kit::deployment::Deployment;

/// How long Flower may take to start.
const LIMIT: Duration = Duration::from_secs(180);
/// How often a state is asked for that has not come yet. Between two looks Flower waits a second for all workers.
const MOST_LOOKS: usize = 30;

/// A running Flower. It ends when dropped.
#[derive(Debug)]
pub(crate) struct Flower {
    running: Guarded,
    address: String,
}

impl Flower {
    /// Starts it on the broker of a deployment and waits until it answers and sees the worker.
    pub(crate) fn start(deployment: &Deployment) -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        let (db, home) = (folder.join("db"), folder.to_str().unwrap());
        let db = format!("--db={}", db.display());
        let env = [
            ("BROKER_URL", &*deployment.broker),
            ("RESULT_BACKEND", &*deployment.database.url),
            ("FLOWER_UNAUTHENTICATED_API", "true"),
            ("HOME", home),
            ("TMPDIR", home),
        ];
        // It chooses a free port itself.
        let options = ["--port=0", "--address=127.0.0.1", "--persistent=False", &db];
        let args = ["-m", "celery", "-A", "tasks", "flower"].into_iter().chain(options);
        let running = Guarded::start(&Python::find().command(args, &env), Some(&folder)).unwrap();
        assert_eq!(running.log().wait_for(&["Registered tasks"], LIMIT), Seen::Line, "{}", running.log().text());
        let text = running.log().text();
        let (_, after) = text.split_once("Visit me at http://").unwrap();
        let address = after.lines().next().unwrap().trim().to_owned();
        let flower = Self { running, address };
        flower.until("/api/workers?status=1", |workers| workers["one@peer"] == true);
        flower
    }

    pub(crate) fn get(&self, path: &str) -> HttpAnswer {
        ask(&self.address, "GET", path, "")
    }

    /// Posts; `body` is JSON or null.
    pub(crate) fn post(&self, path: &str, body: &Value) -> HttpAnswer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        ask(&self.address, "POST", path, &body)
    }

    /// What it answers in JSON. Panics where it does not answer with 200.
    #[track_caller]
    pub(crate) fn json(&self, path: &str) -> Value {
        read(path, &self.get(path))
    }

    /// Calls a task in one of Flower's ways (`apply`, `async-apply`, `send-task`). Returns what it answers.
    #[track_caller]
    pub(crate) fn call(&self, how: &str, task: &str, body: &Value) -> Value {
        let path = format!("/api/task/{how}/{task}");
        read(&path, &self.post(&path, body))
    }

    /// Asks for a state until it holds, and returns it.
    #[track_caller]
    pub(crate) fn until(&self, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut last = self.get(path);
        for _ in 0..MOST_LOOKS {
            if let Some(state) = serde_json::from_str(&last.body).ok().filter(|state| holds(state)) {
                return state;
            }
            self.get("/api/workers?refresh=1");
            last = self.get(path);
        }
        panic!("{path} never said what the test needs: {last:?}\n{}", self.running.log().text())
    }
}

#[track_caller]
fn read(path: &str, answer: &HttpAnswer) -> Value {
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{path}: {error}: {answer:?}"))
}
