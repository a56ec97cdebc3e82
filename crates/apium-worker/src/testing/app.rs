//! The app of a test: it runs what is due when it is told to, and knows what was sent.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use apium_app::app::app::App;
use apium_app::config::prefetch::PrefetchMultiplier;
use apium_app::error::{Error, ErrorKind, Result};
use apium_app::task::read_arguments::ReadArguments;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::queue_admin::QueueStats;
use apium_transport::clock::Clock;
use jiff::Timestamp;

use crate::builder::app_resources;
use crate::control::start::ControlOptions;
use crate::handle::WorkerHandle;
use crate::health::probes::ProbeOptions;
use crate::launch::{WorkerOptions, launch};
use crate::limits::rate_limit::Bucket;
use crate::limits::waiting_runs::NextDue;
use crate::observe::heartbeat::HeartbeatPace;
use crate::observe::services::EventOptions;
use crate::pool::kind::PoolKind;
use crate::shutdown::kind::StopKind;
use crate::testing::recorder::Recorder;
use crate::testing::sent::Sent;
use crate::testing::standstill::Standstill;

/// How long a drain waits for a task that does not end, on the machine's clock.
const PATIENCE: Duration = Duration::from_secs(30);

/// The app of a test. It is an [`App`] with a clock that the test turns and without a worker of its own: tasks run
/// inside [`drain`](Self::drain) and [`advance`](Self::advance), one after the other, in the caller's process.
///
/// A wait for a result that cannot come, since nothing runs and the clock stands still, panics after two seconds. It
/// says what it waits for, what holds that up, and which `advance` would help.
pub struct TestApp {
    app: App,
    clock: Clock,
    recorder: Arc<Recorder>,
    standstill: Standstill,
    concurrency: usize,
    memory: Mutex<Memory>,
}

/// The state that one drain leaves to the next one.
#[derive(Default)]
struct Memory {
    buckets: HashMap<Arc<str>, Bucket>,
    next_due: Option<NextDue>,
}

impl Deref for TestApp {
    type Target = App;

    fn deref(&self) -> &App {
        &self.app
    }
}

impl TestApp {
    pub(crate) fn new(
        app: App,
        (clock, recorder, standstill): (Clock, Arc<Recorder>, Standstill),
        concurrency: usize,
    ) -> Self {
        Self { app, clock, recorder, standstill, concurrency, memory: Mutex::default() }
    }

    /// The clock, which stands still until [`advance`](Self::advance) turns it.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What was sent to a task so far, its retries included, in order: `app.sent::<add>()[0].args()`.
    ///
    /// # Panics
    /// When a message to the task cannot be read: with a serializer that `accept_content` refuses, say.
    #[track_caller]
    pub fn sent<T: ReadArguments>(&self) -> Vec<Sent<T>> {
        let is_of_task =
            |name: &str| name == T::NAME || self.registry().get(name).is_some_and(|task| *task.name == *T::NAME);
        let sent = self.recorder.sent(is_of_task).into_iter().map(|outgoing| Sent::read(&self.app, outgoing));
        match sent.collect::<Result<_>>() {
            Ok(sent) => sent,
            Err(error) => panic!("could not read a message to {}: could not {error:#}", T::NAME),
        }
    }

    /// The messages that were published for the task of this name so far, its retries included, in order, as they were
    /// published.
    pub fn sent_by_name(&self, task: &str) -> Vec<Outgoing> {
        self.recorder.sent(|name| name == task)
    }

    /// Runs everything that is due, and what that sends, until nothing is due or running. Tells how many tasks ran.
    ///
    /// # Panics
    /// When the worker cannot start (missing state, say), or a task does not end within half a minute.
    pub async fn drain(&self) -> u64 {
        match self.try_drain().await {
            Ok(ran) => ran,
            Err(error) => panic!("could not {error:#}"),
        }
    }

    /// Turns the clock by `span`, stopping at each instant at which something becomes due (a countdown, a retry, a rate
    /// limit) to run it. Tells how many tasks ran.
    ///
    /// # Panics
    /// As [`drain`](Self::drain).
    pub async fn advance(&self, span: Duration) -> u64 {
        let end = self.now().saturating_add(span).unwrap_or(Timestamp::MAX);
        let mut ran = self.drain().await;
        loop {
            let now = self.now();
            let kept_due = self.memory.lock().unwrap_or_else(PoisonError::into_inner).next_due;
            let left = kept_due.map(|due| due.remaining(&self.clock)).filter(|left| !left.is_zero());
            let kept_due = left.and_then(|left| now.saturating_add(left).ok());
            let next = [self.recorder.next_due(now), kept_due].into_iter().flatten().min();
            let next = next.filter(|next| *next < end).unwrap_or(end);
            self.clock.advance(Duration::try_from(next.duration_since(now)).unwrap_or_default());
            ran += self.drain().await;
            if next >= end {
                return ran;
            }
        }
    }

    /// As [`drain`](Self::drain), with what goes wrong as an error.
    ///
    /// # Errors
    /// When the worker cannot start, or a task does not end within half a minute.
    pub async fn try_drain(&self) -> Result<u64> {
        let mut ran = 0;
        let mut queues = self.app.config().queue_names();
        loop {
            queues.extend(self.stats().await?.into_iter().map(|queue| queue.queue));
            queues.sort();
            queues.dedup();
            ran += self.drain_queues(queues.clone()).await?;
            let left = self.stats().await?;
            if left.iter().all(|queue| queue.ready == 0 || queues.contains(&queue.queue)) {
                return Ok(ran);
            }
        }
    }

    async fn drain_queues(&self, queues: Vec<String>) -> Result<u64> {
        let buckets = std::mem::take(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner).buckets);
        let options = WorkerOptions {
            names_queues: true,
            node: "test@localhost".into(),
            queues,
            pool: PoolKind::Async,
            child_program: None,
            foreign_program: None,
            concurrency: self.concurrency,
            autoscale: None,
            multiplier: PrefetchMultiplier::Fixed(4),
            layers: Vec::new(),
            soft_stop: Duration::ZERO,
            settle_timeout: PATIENCE,
            probes: ProbeOptions::default(),
            control: ControlOptions::default(),
            // A worker of a test lives for a moment, and has no monitor that waits for it.
            events: EventOptions {
                of_tasks: self.app.config().worker_send_task_events,
                pace: HeartbeatPace::Never,
                gossip: false,
            },
            observers: Vec::new(),
            watched: false,
            buckets,
        };
        let (node, queues) = (options.node.clone(), options.queues.clone());
        let worker = WorkerHandle::new(node, launch(app_resources(&self.app), options).await?);
        let quiet = self.until_quiet(&worker, &queues).await;
        let process = worker.process();
        let memory = Memory { buckets: process.run_queue.buckets(), next_due: process.run_queue.next_due() };
        self.standstill.set_kept_due(memory.next_due);
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = memory;
        let kind = if quiet.is_ok() { StopKind::Warm } else { StopKind::Cold };
        let report = worker.stop_as(kind).await;
        quiet.map(|()| report.finished)
    }

    /// Waits until nothing is ready, fetched, running or being settled.
    async fn until_quiet(&self, worker: &WorkerHandle, queues: &[String]) -> Result<()> {
        let process = worker.process();
        let began = Instant::now();
        let mut looks = 0_u32;
        loop {
            let before = process.run_queue.handed_out_if_idle().filter(|_| process.completer.pending() == 0);
            if before.is_some() {
                let stats = self.stats().await?;
                let waiting = process.run_queue.not_due() as u64;
                // A queue that was declared during this round is drained by the next round.
                let stats: Vec<_> = stats.iter().filter(|queue| queues.contains(&queue.queue)).collect();
                let ready: u64 = stats.iter().map(|queue| queue.ready).sum();
                let unacked: u64 = stats.iter().map(|queue| queue.unacked).sum();
                let still =
                    process.run_queue.handed_out_if_idle().filter(|_| process.completer.pending() == 0) == before;
                if still && ready == 0 && unacked <= waiting {
                    return Ok(());
                }
            }
            if began.elapsed() > PATIENCE {
                let context = "drain the queues within 30 s: a task waits for something that does not come, perhaps for \
                               the clock, which stands still meanwhile";
                return Err(Error::new(ErrorKind::Timeout, context));
            }
            looks += 1;
            match looks % 64 {
                // Tasks on threads and other processes need real time.
                0 => tokio::time::sleep(Duration::from_millis(1)).await,
                _ => tokio::task::yield_now().await,
            }
        }
    }

    async fn stats(&self) -> Result<Vec<QueueStats>> {
        match self.app.broker().queues().and_then(|queues| queues.counts()) {
            Some(counts) => Ok(counts.stats().await?),
            None => Err(Error::new(ErrorKind::Config, "drain the queues: this broker does not count its messages")),
        }
    }
}
