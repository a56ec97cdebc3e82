//! The commands that ask workers something and change nothing (Celery: `app.control.inspect()`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use apium_protocol::error::Result as ProtocolResult;
use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;

use crate::app::app::App;
use crate::control::addressing::{Addressing, addressed};
use crate::control::command::{CommandArguments, RemoteCommand};
use crate::control::fields::Fields;
use crate::control::queue_info::QueueInfo;
use crate::control::replies::{ReadAnswer, as_it_is, confirmation, decoded};
use crate::control::task_info::{ScheduledTask, TaskInfo, TaskPhase, read_queried};
use crate::control::worker_stats::WorkerStats;
use crate::error::Result;

/// Questions for workers. Say first whom they are for and how long to wait, then what is asked; the
/// [`replies`](RemoteCommand::replies) have what each worker answered. Workers of Celery answer as workers of Apium do.
#[derive(Debug, Clone)]
#[must_use = "it names a question, which is then sent"]
pub struct Inspect {
    pub(crate) app: App,
    pub(crate) to: Addressing,
}

impl App {
    /// Questions for workers (Celery: `app.control.inspect()`).
    pub fn inspect(&self) -> Inspect {
        Inspect { app: self.clone(), to: Addressing::ALL }
    }
}

addressed!(Inspect);

/// What a worker answers to another one that starts: the tasks that it knows to be revoked, and its logical clock.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Hello {
    /// The ids of revoked tasks.
    pub revoked: Vec<String>,
    /// The logical clock.
    pub clock: u64,
}

impl Hello {
    /// Reads it. A worker that is asked by itself answers null.
    fn read(answer: &Json) -> ProtocolResult<Self> {
        if answer.is_null() {
            return Ok(Self::default());
        }
        let mut fields = Fields::of("the greeting of a worker", answer)?;
        let clock = fields.take_count("clock")?.unwrap_or_default();
        Ok(Self { revoked: fields.take_or_default("revoked")?, clock })
    }
}

fn read_clock(answer: &Json) -> ProtocolResult<u64> {
    Ok(Fields::of("the clock of a worker", answer)?.take_count("clock")?.unwrap_or_default())
}

impl Inspect {
    fn question<T>(
        &self,
        method: impl Into<Cow<'static, str>>,
        arguments: Result<CommandArguments>,
        read: ReadAnswer<T>,
    ) -> RemoteCommand<T> {
        RemoteCommand::new(&self.app, &self.to, method, arguments, read)
    }

    /// Any inspection by its name, such as one of the program's own. The answer is as the worker gave it.
    pub fn request(&self, name: impl Into<String>, arguments: Vec<(String, Json)>) -> RemoteCommand<Json> {
        self.question(name.into(), Ok(arguments.into()), as_it_is)
    }

    /// Who is there. Each worker answers `pong`.
    pub fn ping(&self) -> RemoteCommand<String> {
        self.question("ping", Ok(CommandArguments::new()), confirmation)
    }

    /// The tasks that run.
    pub fn active(&self) -> RemoteCommand<Vec<TaskInfo>> {
        self.question("active", CommandArguments::new().with("safe", &None::<bool>), TaskInfo::read_list)
    }

    /// The tasks that run, their arguments as texts (Celery: `safe=True`).
    pub fn active_safe(&self) -> RemoteCommand<Vec<TaskInfo>> {
        self.question("active", CommandArguments::new().with("safe", &true), TaskInfo::read_list)
    }

    /// The tasks that workers have fetched and that wait for a slot.
    pub fn reserved(&self) -> RemoteCommand<Vec<TaskInfo>> {
        self.question("reserved", Ok(CommandArguments::new()), TaskInfo::read_list)
    }

    /// The tasks that wait for their eta or countdown, the soonest first. Workers of Apium leave them at the broker,
    /// where they wait for all workers of a queue: each of these answers with up to 100 of each queue.
    pub fn scheduled(&self) -> RemoteCommand<Vec<ScheduledTask>> {
        self.question("scheduled", Ok(CommandArguments::new()), ScheduledTask::read_list)
    }

    /// The ids of the tasks that workers know to be revoked.
    pub fn revoked(&self) -> RemoteCommand<Vec<String>> {
        self.question("revoked", Ok(CommandArguments::new()), decoded)
    }

    /// The stamps that workers know to be revoked: by their headers, the values of each. Celery has no such command.
    pub fn revoked_stamps(&self) -> RemoteCommand<BTreeMap<String, Vec<Json>>> {
        self.question("revoked_stamps", Ok(CommandArguments::new()), decoded)
    }

    /// The tasks that workers can run, sorted: names, each with those of these attributes that it has
    /// (`tasks.add [rate_limit=5/m]`).
    pub fn registered(&self, attributes: &[&str]) -> RemoteCommand<Vec<String>> {
        self.question("registered", CommandArguments::new().with("taskinfoitems", attributes), decoded)
    }

    /// The statistics of workers: what they have run, their pool, their process.
    pub fn stats(&self) -> RemoteCommand<WorkerStats> {
        self.question("stats", Ok(CommandArguments::new()), WorkerStats::read)
    }

    /// The queues that workers consume.
    pub fn active_queues(&self) -> RemoteCommand<Vec<QueueInfo>> {
        self.question("active_queues", Ok(CommandArguments::new()), QueueInfo::read_list)
    }

    /// Where these tasks are: each worker answers with those that it knows.
    pub fn query_task<I: AsRef<str>>(
        &self,
        ids: impl IntoIterator<Item = I>,
    ) -> RemoteCommand<BTreeMap<TaskId, (TaskPhase, TaskInfo)>> {
        let ids: Vec<String> = ids.into_iter().map(|id| id.as_ref().to_owned()).collect();
        self.question("query_task", CommandArguments::new().with("ids", &ids), read_queried)
    }

    /// The settings of workers, without secrets; with or without those that have their default.
    pub fn conf(&self, with_defaults: bool) -> RemoteCommand<BTreeMap<String, Json>> {
        self.question("conf", CommandArguments::new().with("with_defaults", &with_defaults), decoded)
    }

    /// The logical clocks of workers.
    pub fn clock(&self) -> RemoteCommand<u64> {
        self.question("clock", Ok(CommandArguments::new()), read_clock)
    }

    /// Versions, platform and settings of workers, as text.
    pub fn report(&self) -> RemoteCommand<String> {
        self.question("report", Ok(CommandArguments::new()), confirmation)
    }

    /// Greets workers as a worker that starts does: tells them which tasks `from_node` knows to be revoked, and learns
    /// which ones they know.
    pub fn hello(&self, from_node: &str, revoked: &[&str]) -> RemoteCommand<Hello> {
        let arguments = || CommandArguments::new().with("from_node", from_node)?.with("revoked", revoked);
        self.question("hello", arguments(), Hello::read)
    }

    /// How much memory workers use now, as text: `59.3MB`.
    pub fn memsample(&self) -> RemoteCommand<String> {
        self.question("memsample", Ok(CommandArguments::new()), confirmation)
    }

    /// What earlier samples of memory say, as text.
    pub fn memdump(&self, samples: usize) -> RemoteCommand<String> {
        self.question("memdump", CommandArguments::new().with("samples", &samples), confirmation)
    }

    /// Draws a graph of the objects of this type (workers of Celery with the library `objgraph`).
    pub fn objgraph(&self, kind: &str, n: usize, max_depth: usize) -> RemoteCommand<Json> {
        let arguments = || CommandArguments::new().with("num", &n)?.with("max_depth", &max_depth)?.with("type", kind);
        self.question("objgraph", arguments(), as_it_is)
    }
}
