//! `worker`: consumes queues and runs tasks until it is stopped.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use apium_app::config::settings::Settings;
use apium_worker::builder::AppWorker;
use apium_worker::pool::kind::PoolKind;
use apium_worker::pool::process::child_program::ChildProgram;

use crate::exit::{CommandError, Result};
use crate::session::Session;
use crate::text_arg;

/// Options of `worker`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  worker                        every queue of the settings, one slot for each processor
  worker -c 16 -Q mail,celery -n mailer@%h
  worker -l debug --prefetch-multiplier 1
  worker --ready-file /run/mail.ready --health-listen 0.0.0.0:8081

Stopping: SIGTERM or the first ctrl-c is a warm stop: running tasks end, and messages that wait in the worker go back to \
their queues. SIGQUIT or a second ctrl-c is a cold stop: running tasks are abandoned, and those with late ack run again. \
The setting worker_soft_shutdown_timeout bounds how long either waits for running tasks. \
The exit code is 0 after SIGTERM and 1 after ctrl-c, as Celery's.")]
pub(crate) struct Args {
    /// How many tasks run at a time, or `auto` [default: the number of processors; 64 at least if all tasks are async]
    #[arg(short, long, value_name = "N", allow_negative_numbers = true)]
    concurrency: Option<String>,
    /// Change how many tasks run at a time by what there is to do, between MIN (or 1) and MAX; -c has no effect then
    #[arg(long, value_name = "MAX[,MIN]", value_parser = bounds)]
    autoscale: Option<(usize, usize)>,
    /// Only these queues, with commas between [default: every queue of the settings]
    #[arg(short = 'Q', long, value_name = "QUEUES", value_delimiter = ',', value_parser = text_arg::queue)]
    queues: Vec<String>,
    /// Not these queues
    #[arg(short = 'X', long, value_name = "QUEUES", value_delimiter = ',', value_parser = text_arg::queue)]
    exclude_queues: Vec<String>,
    /// The node name; %h is the host, %n the part before the @, %d the domain [default: celery@%h]
    #[arg(short = 'n', long, value_name = "NAME")]
    hostname: Option<String>,
    /// Where tasks run: async (async functions on the runtime, plain ones on threads), threads (every task on a
    /// thread), processes (every task in a child process), solo (one task at a time) [default: async]
    #[arg(short = 'P', long, value_parser = PoolKind::from_str, value_name = "POOL")]
    pool: Option<PoolKind>,
    /// Run the tasks of this Celery app in child processes in Python, with its settings: a module, or module:attribute
    #[arg(short = 'A', long, value_name = "APP")]
    pub(crate) app: Option<String>,
    /// The interpreter for --app [default: that of the virtual environment, else python3]
    #[arg(long, value_name = "FILE", requires = "app")]
    pub(crate) python: Option<PathBuf>,
    /// Send events of tasks, for monitors
    #[arg(short = 'E', long)]
    task_events: bool,
    /// How often to send a heartbeat to monitors, in seconds [default: 2 while somebody listens, else 60]
    #[arg(long, value_name = "SECONDS", conflicts_with = "without_heartbeat")]
    heartbeat_interval: Option<f64>,
    /// Send no heartbeats: monitors see the worker by its tasks only
    #[arg(long)]
    without_heartbeat: bool,
    /// Do not answer elections of Celery's workers
    #[arg(long)]
    without_gossip: bool,
    /// Messages fetched ahead: `auto` is as many as end in about 50 ms; a number is for each slot, and 0 is without
    /// limit [default: auto]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    prefetch_multiplier: Option<String>,
    /// The hard time limit of tasks that have none, in seconds
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    time_limit: Option<f64>,
    /// The soft time limit of tasks that have none, in seconds
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    soft_time_limit: Option<f64>,
    /// Do not greet the other workers at the start, nor learn from those of Celery which tasks are revoked
    #[arg(long)]
    without_mingle: bool,
    /// A file that exists while the worker is connected and fetches messages, for a readiness probe (`test -f`)
    #[arg(long, value_name = "FILE")]
    ready_file: Option<String>,
    /// Answer GET /ready and GET /live over HTTP here, with 200 or 503
    #[arg(long, value_name = "ADDRESS:PORT")]
    health_listen: Option<String>,
    /// How many tasks a child process runs before another one takes its place
    #[arg(long, value_name = "N")]
    max_tasks_per_child: Option<u32>,
    /// How many KiB of memory a child process may have when a task has ended, before another one takes its place
    #[arg(long, value_name = "KIB")]
    max_memory_per_child: Option<u32>,
    /// This process is a child of a worker
    #[arg(long, hide = true)]
    pub(crate) pool_child: bool,
    /// Delete every waiting message of the queues before the start
    #[arg(long, alias = "discard")]
    purge: bool,
}

/// The option of a process that is a child of a worker.
const POOL_CHILD: &str = "--pool-child";

impl Args {
    /// The options that are settings.
    pub(crate) fn settings(&self, settings: &mut Settings) -> Result<()> {
        let mut flag = |name: &str, value: Option<String>, option: &str| match value {
            Some(value) => settings.set_flag(name, value, option),
            None => Ok(()),
        };
        let concurrency = self.concurrency.as_deref().map(|given| if given == "auto" { "none" } else { given });
        flag("worker_concurrency", concurrency.map(str::to_owned), "--concurrency")?;
        flag("worker_prefetch_multiplier", self.prefetch_multiplier.clone(), "--prefetch-multiplier")?;
        flag("task_time_limit", self.time_limit.map(|n| n.to_string()), "--time-limit")?;
        flag("task_soft_time_limit", self.soft_time_limit.map(|n| n.to_string()), "--soft-time-limit")?;
        flag("worker_max_tasks_per_child", self.max_tasks_per_child.map(|n| n.to_string()), "--max-tasks-per-child")?;
        flag(
            "worker_max_memory_per_child",
            self.max_memory_per_child.map(|n| n.to_string()),
            "--max-memory-per-child",
        )?;
        flag("worker_ready_file", self.ready_file.clone(), "--ready-file")?;
        flag("worker_health_listen", self.health_listen.clone(), "--health-listen")?;
        Ok(())
    }
}

/// Runs the worker.
pub(crate) async fn run(session: &Session, args: Args, python: Option<ChildProgram>) -> Result<ExitCode> {
    let queues = chosen_queues(session, &args)?;
    if args.purge {
        let admin = session.queue_admin()?;
        for queue in &queues {
            let count = admin.purge(queue).await?;
            tracing::info!(%queue, count, "waiting messages deleted before the start");
        }
    }
    let mut worker = session.app.worker().queues(queues).mingle(!args.without_mingle);
    worker = worker.child_program(ChildProgram::again_with(POOL_CHILD));
    if let Some(program) = python {
        worker = worker.foreign_program(program);
        if session.app.registry().iter().all(|task| task.is_foreign()) {
            worker = worker.pool(PoolKind::Processes);
        }
    }
    if let Some(name) = args.hostname {
        worker = worker.hostname(name);
    }
    if let Some(pool) = args.pool {
        worker = worker.pool(pool);
    }
    if let Some((max, min)) = args.autoscale {
        worker = worker.autoscale(max, min);
    }
    if args.task_events {
        worker = worker.task_events(true);
    }
    if let Some(seconds) = args.heartbeat_interval {
        let interval = Duration::try_from_secs_f64(seconds).ok().filter(|interval| !interval.is_zero());
        worker = worker.heartbeat_interval(interval.ok_or_else(|| {
            CommandError::usage(format!("send heartbeats every {seconds} s: give seconds above 0, as 2 or 0.5"))
        })?);
    }
    if args.without_heartbeat {
        worker = worker.without_heartbeat();
    }
    if args.without_gossip {
        worker = worker.without_gossip();
    }
    let report = worker.run().await?;
    Ok(ExitCode::from(report.exit_code()))
}

/// `MAX,MIN`, or `MAX` alone.
fn bounds(given: &str) -> std::result::Result<(usize, usize), String> {
    let (max, min) = given.split_once(',').unwrap_or((given, "1"));
    let read = |number: &str| number.trim().parse().map_err(|_| "give one or two whole numbers, as 10,2".to_owned());
    Ok((read(max)?, read(min)?))
}

/// `-Q`, or the queues of the settings without those of `-X`, each of which must be there.
fn chosen_queues(session: &Session, args: &Args) -> Result<Vec<String>> {
    let mut queues = if args.queues.is_empty() { session.configured_queues() } else { args.queues.clone() };
    for excluded in &args.exclude_queues {
        let at = queues.iter().position(|queue| queue == excluded).ok_or_else(|| {
            CommandError::usage(format!("leave out queue {excluded}: it is not one of {}", queues.join(", ")))
        })?;
        queues.remove(at);
    }
    if queues.is_empty() {
        return Err(CommandError::usage("start the worker: no queue is left to consume"));
    }
    Ok(queues)
}
