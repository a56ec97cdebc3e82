//! Apium's worker, in its own process like Celery's.

use std::sync::Arc;
use std::time::Duration;

use apium::prelude::*;

use crate::child::{Role, stdin_closed};
use crate::counter::Counter;
use crate::report;
use crate::speed::drained::Drained;
use crate::speed::load::{count_into, worker_app};

/// Tasks that are still missing count as lost when nothing has run for this long.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What stands for a setting that is not set.
pub const UNSET: &str = "unset";

/// Which events of tasks a worker sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Events {
    /// None, as by default.
    Off,
    /// Those of its runs (`-E`, `worker_send_task_events`).
    OfTasks,
    /// Those, and one for each message that it publishes (`task_send_sent_event`).
    WithSent,
}

impl Events {
    /// Its name on the command line.
    fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::OfTasks => "of-tasks",
            Self::WithSent => "with-sent",
        }
    }

    /// Reads its name.
    pub fn named(name: &str) -> Result<Self, BoxError> {
        let all = [Self::Off, Self::OfTasks, Self::WithSent];
        let found = all.into_iter().find(|events| events.name() == name);
        Ok(found.ok_or_else(|| format!("read the events {name:?}: there are off, of-tasks and with-sent"))?)
    }
}

/// The settings of a worker.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// Tasks that run at a time.
    pub slots: &'a str,
    /// `worker_prefetch_multiplier`: a number, `auto`, or [`UNSET`].
    pub multiplier: &'a str,
    /// The events that it sends.
    pub events: Events,
}

impl Setting<'_> {
    /// The default settings.
    pub const DEFAULT: Self = Setting { slots: UNSET, multiplier: UNSET, events: Events::Off };
}

/// So many slots, and Celery's default prefetch.
pub const fn with_slots(slots: &str) -> Setting<'_> {
    Setting { slots, multiplier: "4", ..Setting::DEFAULT }
}

fn kind(results: bool) -> &'static str {
    if results { "results" } else { "none" }
}

/// Starts a worker that runs until it is told to stop.
pub fn start(address: &str, results: bool) -> Result<Role, BoxError> {
    Ok(Role::start(&["worker", address, kind(results)])?)
}

/// Starts a worker that drains `count` numbers, prints the outcome and waits until it is told to stop.
pub fn start_draining(address: &str, results: bool, count: u64, setting: Setting<'_>) -> Result<Role, BoxError> {
    let count = count.to_string();
    let Setting { slots, multiplier, events } = setting;
    Ok(Role::start(&["drain-as", address, kind(results), &count, slots, multiplier, events.name()])?)
}

/// Starts a worker of so many queues that prints a line when it is ready and runs until it is told to stop.
pub fn start_of_queues(address: &str, count: usize) -> Result<Role, BoxError> {
    let mut worker = Role::start(&["worker-of", address, &count.to_string()])?;
    worker.line()?;
    Ok(worker)
}

/// The name of a queue of [`start_of_queues`].
pub fn queue(number: usize) -> String {
    format!("queue-{number}")
}

/// What the processes run that start here, by their arguments.
pub async fn role(args: &[&str]) -> Result<(), BoxError> {
    match args {
        ["worker", address, kind] => run(address, kind).await,
        ["worker-of", address, queues] => run_queues(address, queues.parse()?).await,
        ["drain-as", address, kind, count, slots, multiplier, events] => {
            let setting = Setting { slots, multiplier, events: Events::named(events)? };
            drain(address, kind, count.parse()?, setting).await
        }
        _ => Err(format!("read the arguments of a worker: {args:?}").into()),
    }
}

/// What the process of [`start`] runs.
async fn run(address: &str, kind: &str) -> Result<(), BoxError> {
    let app = worker_app(address, kind == "results", Setting::DEFAULT).await?;
    app.worker().run_until(stdin_closed()).await?;
    Ok(app.close().await?)
}

/// What the process of [`start_of_queues`] runs.
async fn run_queues(address: &str, count: usize) -> Result<(), BoxError> {
    let app = worker_app(address, true, Setting::DEFAULT).await?;
    let worker = app.worker().queues((0..count).map(queue)).start().await?;
    report::line("ready");
    stdin_closed().await;
    worker.stop().await;
    Ok(app.close().await?)
}

/// What the process of [`start_draining`] runs.
async fn drain(address: &str, kind: &str, count: u64, setting: Setting<'_>) -> Result<(), BoxError> {
    let app = worker_app(address, kind == "results", setting).await?;
    let counter = Arc::new(Counter::new(usize::try_from(count)?));
    count_into(counter.clone());
    let worker = app.worker();
    let worker = if setting.slots == UNSET { worker } else { worker.concurrency(setting.slots.parse()?) };
    worker.run_until(async { counter.wait(PATIENCE).await }).await?;
    app.close().await?;
    let (lost, repeated) = (counter.lost() as u64, counter.repeated() as u64);
    Drained { rate: counter.rate(), lost, repeated }.print();
    // The parent may want to measure this process first.
    stdin_closed().await;
    Ok(())
}
