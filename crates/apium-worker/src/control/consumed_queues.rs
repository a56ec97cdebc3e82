//! The queues that a worker is to consume: those it was started with, those that were added since, and none that is
//! paused. Commands change them; the fetching loop follows.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apium_app::control::pause::PauseRecord;
use apium_protocol::error::with_causes;
use apium_protocol::value::printable::printable_text;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::broker::consumer::{ConsumeSpec, Consumer};
use apium_transport::broker::topology::{Queue, Topology};
use apium_transport::error::{Error, Result};
use jiff::Timestamp;
use tokio::sync::{Notify, oneshot};

/// The queues of a worker.
#[derive(Debug)]
pub(crate) struct ConsumedQueues {
    state: Mutex<State>,
    /// Counts changes, so that the fetching loop sees at a glance whether there is one.
    version: AtomicU64,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    queues: Vec<Queue>,
    paused: BTreeMap<String, (PauseRecord, Timestamp)>,
    /// Who waits for a queue that was added.
    added: Vec<AddedQueue>,
}

/// A queue that was added, until the fetching loop has followed.
#[derive(Debug)]
struct AddedQueue {
    name: String,
    /// The version at which it is in the list.
    version: u64,
    told: oneshot::Sender<Added>,
}

/// What became of a queue that was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Added {
    /// It is consumed.
    Consumed,
    /// It is consumed as soon as it is resumed.
    Paused,
    /// It was cancelled meanwhile.
    Cancelled,
    /// The broker refuses it, and says why.
    Refused(String),
}

/// The queues that a consumer consumes.
#[derive(Debug, Default)]
pub(crate) struct Subscribed {
    pub(crate) names: Vec<String>,
    version: u64,
}

impl ConsumedQueues {
    /// These queues, none of which is paused.
    pub(crate) fn new(queues: Vec<Queue>) -> Arc<Self> {
        let state = Mutex::new(State { queues, paused: BTreeMap::new(), added: Vec::new() });
        Arc::new(Self { state, version: AtomicU64::new(1), changed: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a change, which is told the version that it makes.
    fn change<T>(&self, change: impl FnOnce(&mut State, u64) -> T) -> T {
        let mut state = self.lock();
        let version = self.version.load(Ordering::Acquire) + 1;
        let changed = change(&mut state, version);
        self.version.store(version, Ordering::Release);
        drop(state);
        self.changed.notify_one();
        changed
    }

    /// What is to be consumed.
    pub(crate) fn consumed(&self) -> Vec<Queue> {
        let state = self.lock();
        state.queues.iter().filter(|queue| !state.paused.contains_key(&queue.name)).cloned().collect()
    }

    /// The names of all its queues, those that are paused among them.
    pub(crate) fn names(&self) -> Vec<String> {
        self.lock().queues.iter().map(|queue| queue.name.clone()).collect()
    }

    /// Consumes one more queue. One of the same name is replaced. What it returns says what became of it, when the
    /// fetching loop has followed; it is an error when the worker stops before.
    pub(crate) fn add(&self, queue: Queue) -> oneshot::Receiver<Added> {
        let (told, added) = oneshot::channel();
        self.change(|state, version| {
            state.added.retain(|added| !added.told.is_closed());
            state.added.push(AddedQueue { name: queue.name.clone(), version, told });
            state.queues.retain(|present| present.name != queue.name);
            state.queues.push(queue);
        });
        added
    }

    /// Consumes a queue no more.
    pub(crate) fn remove(&self, name: &str) {
        self.change(|state, _| state.queues.retain(|present| present.name != name));
    }

    /// Pauses a queue, whether this worker consumes it or not.
    pub(crate) fn pause(&self, name: String, record: PauseRecord, at: Timestamp) {
        self.change(|state, _| state.paused.insert(name, (record, at)));
    }

    /// Lets a queue be consumed again.
    pub(crate) fn resume(&self, name: &str) {
        self.change(|state, _| state.paused.remove(name));
    }

    /// These queues are paused, and no others.
    pub(crate) fn set_paused(&self, paused: BTreeMap<String, (PauseRecord, Timestamp)>) {
        if self.lock().paused != paused {
            self.change(|state, _| state.paused = paused);
        }
    }

    /// Says which queues of this worker are paused, by whom and why; `None` where none is.
    pub(crate) fn pauses(&self) -> Option<String> {
        let state = self.lock();
        let of_worker = |name: &str| state.queues.iter().any(|queue| queue.name == name);
        let told = state.paused.iter().filter(|(name, _)| of_worker(name)).map(|(name, (record, at))| {
            let (name, by, reason) = (printable_text(name), printable_text(&record.by), printable_text(&record.reason));
            let by = if by.is_empty() { String::new() } else { format!(" by {by}") };
            let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            format!("{name} (since {at}{by}{reason})")
        });
        let told: Vec<_> = told.collect();
        (!told.is_empty()).then(|| format!("paused queues: {}", told.join(", ")))
    }

    /// Whether nothing changed since these were subscribed.
    fn is_current(&self, subscribed: &Subscribed) -> bool {
        self.version.load(Ordering::Acquire) == subscribed.version
    }

    /// Declares the queues, and makes a consumer of those that are not paused.
    pub(crate) async fn connect(
        &self,
        broker: &SharedBroker,
        spec: &ConsumeSpec,
    ) -> Result<(Box<dyn Consumer>, Subscribed)> {
        let (topology, subscribed) = self.for_consumer();
        broker.declare(&topology).await?;
        let mut spec = spec.clone();
        spec.queues.clone_from(&subscribed.names);
        let consumer = broker.consume(spec).await?;
        self.tell_added(&subscribed);
        Ok((consumer, subscribed))
    }

    /// Tells those who added queues what became of them, as far as the consumer has followed.
    fn tell_added(&self, subscribed: &Subscribed) {
        let mut state = self.lock();
        let (followed, later) = std::mem::take(&mut state.added)
            .into_iter()
            .partition::<Vec<_>, _>(|added| added.version <= subscribed.version);
        state.added = later;
        for AddedQueue { name, told, .. } in followed {
            let outcome = match () {
                () if subscribed.names.contains(&name) => Added::Consumed,
                () if state.queues.iter().all(|queue| queue.name != name) => Added::Cancelled,
                () => Added::Paused,
            };
            // Nobody may wait for it any more.
            let _ = told.send(outcome);
        }
    }

    /// Leaves out a queue that the broker refuses, and tells those who added it.
    fn refused(&self, name: &str, error: &Error) {
        let mut state = self.lock();
        state.queues.retain(|queue| queue.name != name);
        let (refused, others) =
            std::mem::take(&mut state.added).into_iter().partition::<Vec<_>, _>(|added| added.name == name);
        state.added = others;
        for added in refused {
            let _ = added.told.send(Added::Refused(format!("{error:#}")));
        }
    }

    /// The queues for a consumer, with their names as it subscribes to them.
    fn for_consumer(&self) -> (Topology, Subscribed) {
        let version = self.version.load(Ordering::Acquire);
        let queues = self.consumed();
        let names = queues.iter().map(|queue| queue.name.clone()).collect();
        (Topology::new(queues), Subscribed { names, version })
    }

    /// Waits for a change. Cancel-safe.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Wakes the fetching loop, which is to look at the prefetch.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Lets a consumer consume what it is to. A queue that the broker refuses is left out, and logged.
    ///
    /// # Errors
    /// When the broker cannot be reached. It goes on by the next call.
    pub(crate) async fn follow(
        &self,
        broker: &SharedBroker,
        consumer: &mut dyn Consumer,
        subscribed: &mut Subscribed,
    ) -> Result<()> {
        if self.is_current(subscribed) {
            return Ok(());
        }
        let (wanted, new) = self.for_consumer();
        for name in subscribed.names.clone() {
            if !new.names.contains(&name) {
                consumer.unsubscribe(&name).await?;
                subscribed.names.retain(|present| *present != name);
                tracing::info!(queue = &*printable_text(&name), "the worker consumes this queue no more");
            }
        }
        for queue in wanted.queues {
            if subscribed.names.contains(&queue.name) {
                continue;
            }
            let name = queue.name.clone();
            match subscribe(broker, consumer, queue).await {
                Ok(()) => {
                    tracing::info!(queue = &*printable_text(&name), "the worker consumes this queue");
                    subscribed.names.push(name);
                }
                Err(error) if error.is_retryable() || error.is_final() => return Err(error),
                Err(error) => {
                    tracing::error!(error = %with_causes(&error), queue = &*printable_text(&name), "could not consume a queue that was added; the worker goes on without it");
                    self.refused(&name, &error);
                }
            }
        }
        subscribed.version = new.version;
        self.tell_added(subscribed);
        Ok(())
    }
}

async fn subscribe(broker: &SharedBroker, consumer: &mut dyn Consumer, queue: Queue) -> Result<()> {
    let name = queue.name.clone();
    broker.declare(&Topology::new(vec![queue])).await?;
    consumer.subscribe(&name).await
}
