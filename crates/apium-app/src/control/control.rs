//! The commands that change something in workers (Celery: `app.control`).

use std::borrow::Cow;
use std::time::Duration;

use apium_protocol::json::text::Json;
use serde::Serialize;

use crate::app::app::App;
use crate::control::addressing::{Addressing, addressed};
use crate::control::command::{CommandArguments, RemoteCommand};
use crate::control::replies::{as_it_is, confirmation};
use crate::error::{Error, ErrorKind, Result};
use crate::options::rate_limit::RateLimit;

/// Commands for workers. Say first whom they are for and how long to wait, then which command; its
/// [`send`](RemoteCommand::send) or [`replies`](RemoteCommand::replies) does it. Workers of Celery obey them as workers
/// of Apium do.
#[derive(Debug, Clone)]
#[must_use = "it names a command, which is then sent"]
pub struct Control {
    pub(crate) app: App,
    pub(crate) to: Addressing,
}

impl App {
    /// Commands for workers (Celery: `app.control`).
    pub fn control(&self) -> Control {
        Control { app: self.clone(), to: Addressing::ALL }
    }
}

addressed!(Control);

/// A queue that workers are told to consume.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AddedQueue {
    queue: String,
    exchange: Option<String>,
    exchange_type: String,
    routing_key: Option<String>,
    options: Vec<(String, Json)>,
}

impl AddedQueue {
    /// A queue with a direct exchange and a routing key of its name.
    pub fn new(queue: impl Into<String>) -> Self {
        let queue = queue.into();
        Self { queue, exchange: None, exchange_type: "direct".to_owned(), routing_key: None, options: Vec::new() }
    }

    /// Through this exchange, of this type: `direct`, `topic` or `fanout`.
    #[must_use]
    pub fn exchange(mut self, name: impl Into<String>, kind: impl Into<String>) -> Self {
        self.exchange = Some(name.into());
        self.exchange_type = kind.into();
        self
    }

    /// Bound by this key.
    #[must_use]
    pub fn routing_key(mut self, key: impl Into<String>) -> Self {
        self.routing_key = Some(key.into());
        self
    }

    /// With an option of kombu's `Queue.from_dict`, such as `queue_durable`.
    #[must_use]
    pub fn option(mut self, name: impl Into<String>, value: impl Into<Json>) -> Self {
        self.options.push((name.into(), value.into()));
        self
    }

    fn arguments(self) -> Result<CommandArguments> {
        let arguments = CommandArguments::new().with("queue", &self.queue)?.with("exchange", &self.exchange)?;
        let arguments = arguments.with("exchange_type", &self.exchange_type)?.with("routing_key", &self.routing_key)?;
        self.options.iter().try_fold(arguments, |arguments, (name, value)| arguments.with(name, value))
    }
}

impl From<&str> for AddedQueue {
    fn from(queue: &str) -> Self {
        Self::new(queue)
    }
}

/// Seconds as Python writes them: whole ones as an integer.
struct Seconds(Duration);

impl Serialize for Seconds {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.subsec_nanos() {
            0 => serializer.serialize_u64(self.0.as_secs()),
            _ => serializer.serialize_f64(self.0.as_secs_f64()),
        }
    }
}

impl Control {
    /// A command with a confirmation in words.
    pub(crate) fn command(
        &self,
        method: impl Into<Cow<'static, str>>,
        arguments: Result<CommandArguments>,
    ) -> RemoteCommand<String> {
        RemoteCommand::new(&self.app, &self.to, method, arguments, confirmation)
    }

    /// Any command by its name, with its arguments by name: a command of the program's own, or one of a later version.
    /// It is tried once, since it may do harm twice. A worker that does not know it answers with an error.
    pub fn broadcast(&self, name: impl Into<String>, arguments: Vec<(String, Json)>) -> RemoteCommand<Json> {
        let name = name.into();
        let arguments = match name.trim().is_empty() {
            true => Err(Error::new(ErrorKind::Call, "send a command to workers: its name is empty")),
            false => Ok(CommandArguments::from(arguments)),
        };
        RemoteCommand::new(&self.app, &self.to, name, arguments, as_it_is).once()
    }

    /// Asks who is there. Each worker answers `pong`.
    pub fn ping(&self) -> RemoteCommand<String> {
        self.command("ping", Ok(CommandArguments::new()))
    }

    /// Gives a task a new rate limit in each worker, at once: `"100/m"`, `"5/s"`, `"1/h"`; `"0"` is none. It holds
    /// until the worker ends.
    pub fn rate_limit(&self, task: &str, limit: &str) -> RemoteCommand<String> {
        let arguments = || {
            let arguments = CommandArguments::new().with("task_name", task)?;
            match RateLimit::parse(limit)? {
                Some(_) => arguments.with("rate_limit", limit.trim()),
                None => arguments.with("rate_limit", &0),
            }
        };
        self.command("rate_limit", arguments())
    }

    /// Gives a task new time limits in each worker, at once. What is `None` is no limit. They hold until the worker
    /// ends. (Workers of Celery 5.7 confirm them and change nothing.)
    pub fn time_limit(&self, task: &str, soft: Option<Duration>, hard: Option<Duration>) -> RemoteCommand<String> {
        let arguments = || {
            let arguments = CommandArguments::new().with("task_name", task)?;
            arguments.with("hard", &hard.map(Seconds))?.with("soft", &soft.map(Seconds))
        };
        self.command("time_limit", arguments())
    }

    /// Tells workers to consume one more queue: its name, or an [`AddedQueue`]. It holds until the worker ends.
    pub fn add_consumer(&self, queue: impl Into<AddedQueue>) -> RemoteCommand<String> {
        self.command("add_consumer", queue.into().arguments())
    }

    /// Tells workers to consume a queue no longer.
    pub fn cancel_consumer(&self, queue: &str) -> RemoteCommand<String> {
        self.command("cancel_consumer", CommandArguments::new().with("queue", queue))
    }

    /// Tells workers to run `n` more tasks at once. It is tried once, since it counts twice when it is heard twice.
    pub fn pool_grow(&self, n: usize) -> RemoteCommand<String> {
        self.command("pool_grow", CommandArguments::new().with("n", &n)).once()
    }

    /// Tells workers to run `n` fewer tasks at once. It is tried once, as [`pool_grow`](Self::pool_grow).
    pub fn pool_shrink(&self, n: usize) -> RemoteCommand<String> {
        self.command("pool_shrink", CommandArguments::new().with("n", &n)).once()
    }

    /// Tells workers to start the processes of their pools anew (Celery: with `worker_pool_restarts`). It is tried
    /// once.
    pub fn pool_restart(&self) -> RemoteCommand<String> {
        let none: Option<&str> = None;
        let arguments =
            || CommandArguments::new().with("modules", &none)?.with("reload", &false)?.with("reloader", &none);
        self.command("pool_restart", arguments()).once()
    }

    /// Sets the bounds between which workers that scale themselves do so.
    pub fn autoscale(&self, most: usize, least: usize) -> RemoteCommand<String> {
        let arguments = || CommandArguments::new().with("max", &most)?.with("min", &least);
        self.command("autoscale", arguments())
    }

    /// Tells workers to send events of tasks.
    pub fn enable_events(&self) -> RemoteCommand<String> {
        self.command("enable_events", Ok(CommandArguments::new()))
    }

    /// Tells workers to send no more events of tasks.
    pub fn disable_events(&self) -> RemoteCommand<String> {
        self.command("disable_events", Ok(CommandArguments::new()))
    }

    /// Tells workers to send their heartbeat event now.
    pub fn heartbeat(&self) -> RemoteCommand<String> {
        self.command("heartbeat", Ok(CommandArguments::new()))
    }

    /// Lets workers elect one of them, which does `action` (for the topic `task`: a signature that it sends).
    pub fn election(&self, id: &str, topic: &str, action: Option<Json>) -> RemoteCommand<String> {
        let arguments = || CommandArguments::new().with("id", id)?.with("topic", topic)?.with("action", &action);
        self.command("election", arguments())
    }

    /// Stops workers warm: they take no more messages, and end when what runs has ended. Workers do not reply to it.
    pub fn shutdown(&self) -> RemoteCommand<String> {
        self.command("shutdown", Ok(CommandArguments::new()))
    }
}
