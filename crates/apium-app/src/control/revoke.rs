//! Revoking tasks by id and by stamps, and taking that back.

use std::collections::BTreeMap;
use std::fmt;

use apium_protocol::json::text::Json;
use apium_transport::broker::fleet::{FleetTopic, stamp_keys};

use crate::app::app::App;
use crate::control::addressing::Addressing;
use crate::control::command::{CommandArguments, OnReply, RemoteCommand};
use crate::control::control::Control;
use crate::control::fleet_change::FleetChange;
use crate::control::replies::{Replies, Reply, confirmation};
use crate::error::{Error, ErrorKind, Result};

/// How many ids one request names at most.
const MOST_IDS: usize = 5_000;

/// The signal that Celery names where none is named.
const SIGNAL: &str = "SIGTERM";

/// A revoke: workers will not run these tasks. What runs already runs on, unless it is [terminated](Self::terminate).
///
/// A revoke is durable: it is written to the broker before it is broadcast, so that workers of Apium that start later
/// honour it too. It is kept for `worker_revoke_expires`, with at most `worker_revokes_max` others; the oldest go. A
/// revoke for some workers only (destination or pattern) is not written, and neither is one on a broker that keeps no
/// records for workers.
#[must_use = "nothing is revoked until `send` or `replies` is called"]
pub struct Revoke {
    app: App,
    to: Addressing,
    subject: Subject,
    terminate: bool,
    signal: String,
    on_reply: Option<OnReply<String>>,
}

#[derive(Debug)]
enum Subject {
    /// One id, as Celery sends a single one.
    Task(String),
    Tasks(Vec<String>),
    /// Headers of stamps, each with a value or a list of values.
    Stamps(Vec<(String, Json)>),
}

impl Control {
    /// Revokes a task by its id.
    pub fn revoke(&self, id: impl Into<String>) -> Revoke {
        self.revoke_of(Subject::Task(id.into()))
    }

    /// Revokes tasks by their ids.
    pub fn revoke_all<I: Into<String>>(&self, ids: impl IntoIterator<Item = I>) -> Revoke {
        self.revoke_of(Subject::Tasks(ids.into_iter().map(Into::into).collect()))
    }

    /// Revokes the tasks with one of these stamps: headers, each with a value or a list of values (Celery:
    /// `revoke_by_stamped_headers`).
    pub fn revoke_by_stamps<N: Into<String>, V: Into<Json>>(&self, stamps: impl IntoIterator<Item = (N, V)>) -> Revoke {
        let stamps = stamps.into_iter().map(|(header, values)| (header.into(), values.into()));
        self.revoke_of(Subject::Stamps(stamps.collect()))
    }

    /// Revokes tasks and terminates those that run (Celery: `terminate`); the signal is SIGTERM.
    pub fn terminate<I: Into<String>>(&self, ids: impl IntoIterator<Item = I>) -> Revoke {
        self.revoke_all(ids).terminate()
    }

    /// Takes the revokes of tasks back: their messages run when they come. A message that was dropped meanwhile stays
    /// dropped, and a stored REVOKED stays until its task runs.
    ///
    /// Workers that start later know of it too, as of a revoke. Celery has no such command: its workers answer with an
    /// error, and tell an id that they still know to workers that start later.
    pub fn unrevoke<I: Into<String>>(&self, ids: impl IntoIterator<Item = I>) -> RemoteCommand<String> {
        self.unrevoke_of(Subject::Tasks(ids.into_iter().map(Into::into).collect()))
    }

    /// Takes the revokes of stamps back, as [`unrevoke`](Self::unrevoke).
    pub fn unrevoke_by_stamps<N: Into<String>, V: Into<Json>>(
        &self,
        stamps: impl IntoIterator<Item = (N, V)>,
    ) -> RemoteCommand<String> {
        let stamps = stamps.into_iter().map(|(header, values)| (header.into(), values.into()));
        self.unrevoke_of(Subject::Stamps(stamps.collect()))
    }

    fn unrevoke_of(&self, subject: Subject) -> RemoteCommand<String> {
        let method = match subject {
            Subject::Stamps(_) => "unrevoke_by_stamped_headers",
            _ => "unrevoke",
        };
        let requests = subject.check().and_then(|()| subject.requests(Ok));
        let (topic, keys) = subject.keys();
        let is_shared = self.to.is_everybody() && !keys.is_empty();
        let change = is_shared.then_some(FleetChange::Remove(topic, keys));
        RemoteCommand::of_requests(&self.app, &self.to, method, requests, confirmation).after_change(change)
    }

    fn revoke_of(&self, subject: Subject) -> Revoke {
        let (app, to) = (self.app.clone(), self.to.clone());
        Revoke { app, to, subject, terminate: false, signal: SIGNAL.to_owned(), on_reply: None }
    }
}

impl Revoke {
    /// Terminates the tasks that run, too. A worker of Apium drops an async task where it waits next, and tells a plain
    /// function through its context; a worker of Celery sends a signal to the process that runs the task.
    pub fn terminate(mut self) -> Self {
        self.terminate = true;
        self
    }

    /// Terminates with this signal (default: `SIGTERM`): `SIGKILL`, `KILL`, `TERM`, ….
    pub fn signal(mut self, name: impl Into<String>) -> Self {
        self.signal = name.into();
        self
    }

    /// Calls `callback` with each reply when it comes.
    pub fn on_reply(mut self, callback: impl FnMut(&Reply<String>) + Send + 'static) -> Self {
        self.on_reply = Some(Box::new(callback));
        self
    }

    /// Revokes, and waits for no reply. It need not be known whether a worker runs. More than 5,000 ids are sent as
    /// several requests.
    ///
    /// # Errors
    /// As [`RemoteCommand::send`]. When the broker fails after the revoke was written, workers that start later honour
    /// it; revoke again for those that run.
    pub async fn send(self) -> Result<()> {
        self.command().send().await
    }

    /// Revokes, and waits for what workers answer.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn replies(self) -> Result<Replies<String>> {
        self.command().replies().await
    }

    /// As [`send`](Self::send), on this thread. For code that is not async.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_blocking(self) -> Result<()> {
        self.command().send_blocking()
    }

    /// As [`replies`](Self::replies), on this thread. For code that is not async.
    ///
    /// # Errors
    /// As [`replies`](Self::replies).
    pub fn replies_blocking(self) -> Result<Replies<String>> {
        self.command().replies_blocking()
    }

    fn command(self) -> RemoteCommand<String> {
        let change = if self.to.is_everybody() { self.change() } else { None };
        let requests = self.check().and_then(|()| self.requests());
        let method = match self.subject {
            Subject::Stamps(_) => "revoke_by_stamped_headers",
            _ => "revoke",
        };
        let command = RemoteCommand::of_requests(&self.app, &self.to, method, requests, confirmation);
        let command = command.after_change(change);
        match self.on_reply {
            Some(callback) => command.on_reply(callback),
            None => command,
        }
    }

    fn check(&self) -> Result<()> {
        self.subject.check()?;
        match self.signal.trim().is_empty() {
            true => Err(wrong("the name of the signal is empty; one is SIGTERM")),
            false => Ok(()),
        }
    }

    /// The arguments of each request.
    fn requests(&self) -> Result<Vec<CommandArguments>> {
        self.subject.requests(|arguments| arguments.with("terminate", &self.terminate)?.with("signal", &self.signal))
    }

    /// What workers that start later are told.
    fn change(&self) -> Option<FleetChange> {
        let (topic, keys) = self.subject.keys();
        let records: Vec<_> = keys.into_iter().map(|key| (key, Json::NULL)).collect();
        (!records.is_empty()).then_some(FleetChange::Put(topic, records))
    }
}

fn wrong(what: &str) -> Error {
    Error::new(ErrorKind::Call, format!("revoke tasks: {what}"))
}

impl Subject {
    fn check(&self) -> Result<()> {
        match self {
            Self::Task(id) if id.is_empty() => Err(wrong("an id is empty")),
            Self::Tasks(ids) if ids.iter().any(String::is_empty) => Err(wrong("an id is empty")),
            Self::Stamps(stamps) if stamps.iter().any(|(header, _)| header.is_empty()) => {
                Err(wrong("the name of a stamp is empty"))
            }
            _ => Ok(()),
        }
    }

    /// The arguments of each request, finished by `finish`. No subject is no request.
    fn requests(&self, finish: impl Fn(CommandArguments) -> Result<CommandArguments>) -> Result<Vec<CommandArguments>> {
        match self {
            Self::Task(id) => Ok(vec![finish(CommandArguments::new().with("task_id", id)?)?]),
            Self::Tasks(ids) => {
                ids.chunks(MOST_IDS).map(|ids| finish(CommandArguments::new().with("task_id", ids)?)).collect()
            }
            Self::Stamps(stamps) if stamps.is_empty() => Ok(Vec::new()),
            Self::Stamps(stamps) => {
                let headers: BTreeMap<&str, &Json> = stamps.iter().map(|(name, value)| (&**name, value)).collect();
                Ok(vec![finish(CommandArguments::new().with("headers", &headers)?)?])
            }
        }
    }

    /// The keys of its records.
    fn keys(&self) -> (FleetTopic, Vec<String>) {
        match self {
            Self::Task(id) => (FleetTopic::RevokedTasks, vec![id.clone()]),
            Self::Tasks(ids) => (FleetTopic::RevokedTasks, ids.clone()),
            Self::Stamps(stamps) => (FleetTopic::RevokedStamps, keys_of(stamps)),
        }
    }
}

impl fmt::Debug for Revoke {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Revoke");
        shown.field("subject", &self.subject).field("to", &self.to).field("terminate", &self.terminate);
        shown.field("signal", &self.signal).finish_non_exhaustive()
    }
}

/// A key for each value of each header.
fn keys_of(stamps: &[(String, Json)]) -> Vec<String> {
    stamps.iter().flat_map(|(header, values)| stamp_keys(header, values)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_has_a_key_for_each_value() {
        let stamps = [("batch", r#"["b1", "b2"]"#), ("n", "7"), ("none", "[]")];
        let stamps: Vec<_> =
            stamps.iter().map(|(name, json)| ((*name).to_owned(), Json::from_text(json).unwrap())).collect();
        assert_eq!(keys_of(&stamps), [r#"batch="b1""#, r#"batch="b2""#, "n=7"]);
    }
}
