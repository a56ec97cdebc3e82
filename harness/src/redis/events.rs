//! What the events of tasks cost a worker: how fast it drains a filled queue with them and without, and Celery's worker
//! beside it. Nobody listens then, so the cost is the worker's and not a monitor's. In one more drain a monitor
//! listens, and counts.

use std::time::Duration;

use apium::prelude::BoxError;

use crate::redis::kit::monitor::Monitor;
use crate::redis::kit::server::Server;
use crate::redis::kit::stock::Stock;
use crate::report;
use crate::speed::celery::{CeleryWorker, PREFORK, START};
use crate::speed::drained::Drained;
use crate::speed::worker::{self, Events, PATIENCE, Setting, with_slots};

/// How often a worker without events and one with them take turns: the speed of a machine changes from second to
/// second.
const TURNS: usize = 3;

/// The events of a task that succeeds: received, started, succeeded.
const OF_A_TASK: u64 = 3;

/// How long a monitor waits for events after the last task.
const HEAR: Duration = Duration::from_secs(5);

/// How many tasks are drained. Celery drains fewer, because it takes longer.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// By Apium.
    pub apium: u64,
    /// By Celery.
    pub celery: u64,
}

/// Measures drains without events, with those of runs (`-E`), and with `task_send_sent_event` too. For the last, each
/// message has a callback: the worker publishes half of what it runs.
pub async fn measure(counts: Counts) -> Result<(), BoxError> {
    let server = Server::start().await?;
    let plain = Drain { server: &server, stock: Stock::fill(&server, counts.apium, false).await?, callbacks: 0 };
    plain.compare("events", Events::OfTasks, counts.apium).await?;
    plain.heard(counts.apium).await?;
    plain.compare_celery("events_celery", Events::OfTasks, counts.celery).await?;
    for (name, tasks) in [("sent_events", counts.apium), ("sent_events_celery", counts.celery)] {
        let stock = Stock::with_callbacks(&server, tasks / 2).await?;
        let drain = Drain { server: &server, stock, callbacks: 1 };
        match name {
            "sent_events" => drain.compare(name, Events::WithSent, tasks).await?,
            _ => drain.compare_celery(name, Events::WithSent, tasks).await?,
        }
    }
    Ok(())
}

/// Drains a few messages with events, to check that everything is counted.
pub async fn check(count: u64) -> Result<(), BoxError> {
    let server = Server::start().await?;
    let plain = Drain { server: &server, stock: Stock::fill(&server, count, false).await?, callbacks: 0 };
    plain.heard(count).await?;
    let stock = Stock::with_callbacks(&server, count / 2).await?;
    Drain { server: &server, stock, callbacks: 1 }.apium("sent_events", Events::WithSent, count).await.map(drop)
}

/// Messages that are drained again and again.
#[derive(Debug)]
struct Drain<'a> {
    server: &'a Server,
    stock: Stock,
    /// How many callbacks each message has.
    callbacks: u64,
}

impl Drain<'_> {
    /// Lets Apium's worker drain, with and without events.
    async fn compare(&self, name: &str, events: Events, tasks: u64) -> Result<(), BoxError> {
        let (mut without, mut with) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..TURNS {
            without += self.apium(&format!("{name}_off"), Events::Off, tasks).await?;
            with += self.apium(&format!("{name}_on"), events, tasks).await?;
        }
        report_cost(name, without, with);
        Ok(())
    }

    /// The same with Celery's worker.
    async fn compare_celery(&self, name: &str, events: Events, tasks: u64) -> Result<(), BoxError> {
        let (mut without, mut with) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..TURNS {
            without += self.celery(&format!("{name}_off"), Events::Off, tasks).await?;
            with += self.celery(&format!("{name}_on"), events, tasks).await?;
        }
        report_cost(name, without, with);
        Ok(())
    }

    /// Runs Apium's worker; how long it took.
    async fn apium(&self, name: &str, events: Events, tasks: u64) -> Result<Duration, BoxError> {
        let database = self.stock.copy(self.server, tasks / (1 + self.callbacks)).await?;
        let (commands, busy) = (self.server.commands().await?, self.server.processor()?);
        let setting = Setting { events, ..with_slots("64") };
        let mut worker = worker::start_draining(&database.url, false, tasks, setting)?;
        let drained = Drained::parse(&worker.line()?)?;
        drained.report(name);
        let each = |spent: Duration| spent.as_secs_f64() * 1e6 / tasks as f64;
        report::figure(&format!("{name}_worker_cpu"), each(worker.processor()?), "µs");
        report::figure(&format!("{name}_server_cpu"), each(self.server.processor()?.saturating_sub(busy)), "µs");
        let called = self.server.commands().await?.since(&commands);
        report::figure(&format!("{name}_publish"), called.of("publish") as f64 / tasks as f64, "commands");
        if !worker.stop()? {
            return Err("the worker failed".into());
        }
        report::figure("unsettled", self.server.clear(&database).await?.messages as f64, "messages");
        Ok(time_of(drained, tasks))
    }

    /// Runs Celery's worker; how long it took.
    async fn celery(&self, name: &str, events: Events, tasks: u64) -> Result<Duration, BoxError> {
        let database = self.stock.copy(self.server, tasks / (1 + self.callbacks)).await?;
        let worker = CeleryWorker::start_with(PREFORK, &database.url, false, tasks, events)?;
        worker.tally().started(START).await?;
        let drained = worker.tally().watch(tasks, PATIENCE).await?;
        worker.stop()?;
        drained.report(name);
        report::figure("unsettled", self.server.clear(&database).await?.messages as f64, "messages");
        Ok(time_of(drained, tasks))
    }

    /// Runs Apium's worker with a monitor that counts its events.
    async fn heard(&self, tasks: u64) -> Result<(), BoxError> {
        let database = self.stock.copy(self.server, tasks).await?;
        let monitor = Monitor::start(&database).await?;
        let setting = Setting { events: Events::OfTasks, ..with_slots("64") };
        let mut worker = worker::start_draining(&database.url, false, tasks, setting)?;
        Drained::parse(&worker.line()?)?.report("events_heard");
        let heard = monitor.wait(tasks * OF_A_TASK, HEAR).await?;
        report::figure("events_unheard", (tasks * OF_A_TASK).abs_diff(heard) as f64, "events");
        if !worker.stop()? {
            return Err("the worker failed".into());
        }
        report::figure("unsettled", self.server.clear(&database).await?.messages as f64, "messages");
        Ok(())
    }
}

/// Prints by how much events lower the rate.
fn report_cost(name: &str, without: Duration, with: Duration) {
    report::figure(&format!("{name}_cost"), (1.0 - without.as_secs_f64() / with.as_secs_f64()) * 100.0, "%");
}

fn time_of(drained: Drained, tasks: u64) -> Duration {
    Duration::from_secs_f64(tasks as f64 / drained.rate)
}
